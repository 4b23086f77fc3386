-- Accepted readings that were not stored, each with its reason and its place in the stream.

create table repeat (
    flush_id bigint not null,
    position bigint[] not null,
    index    integer[] not null,
    tag_id   integer[] not null,
    at       timestamptz not null default clock_timestamp()
);
comment on table repeat is 'Duplicates: same key, same content as a stored reading. One row a flush.';
create index repeat_flush on repeat (flush_id);
create index repeat_at on repeat (at);

create table conflict (
    conflict_id bigint generated always as identity primary key,
    flush_id    bigint not null,
    position    bigint not null,
    index       integer not null,
    tag_id      integer not null references tag,
    ts          timestamptz not null,
    seq         bigint,
    value       double precision,
    state       text,
    quality     bigint not null,
    at          timestamptz not null default clock_timestamp()
);
comment on table conflict is 'Same key, other content: the first stays in history, this one is kept as a candidate for correction.';
create index conflict_flush on conflict (flush_id);
create index conflict_tag on conflict (tag_id, at);

create table quarantine (
    quarantine_id bigint generated always as identity primary key,
    flush_id      bigint not null,
    position      bigint not null,
    index         integer not null,
    path          text not null,
    ts            timestamptz,
    reason        text not null,
    detail        text not null,
    raw           bytea not null,
    at            timestamptz not null default clock_timestamp(),
    redriven_at   timestamptz,
    redriven_by   text,
    redriven_as   text
);
comment on column quarantine.raw is 'The reading as JSON, as the writing interface takes it.';
comment on column quarantine.redriven_as is 'The batch_id under which it was sent through the stream again.';
create index quarantine_flush on quarantine (flush_id);
create index quarantine_at on quarantine (at);
