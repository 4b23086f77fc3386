-- What is known of the plant: its tags, how they are configured, who changed that, and the texts of its states.

create table registry (
    one     boolean primary key default true check (one),
    version bigint not null default 0
);
comment on table registry is 'One row. version grows with every change to any tag: workers compare it at each flush.';
insert into registry default values;

create table tag (
    tag_id     integer generated always as identity primary key,
    path       text not null unique,
    grp        smallint not null generated always as ((tag_id - 1) / 100) stored,
    holds      text check (holds in ('value', 'state')),
    config     jsonb not null default '{}',
    version    bigint not null,
    created_at timestamptz not null default clock_timestamp()
);
comment on column tag.grp is 'A hundred tags share the rows of hot; small plants thereby use few groups.';
comment on column tag.holds is 'Fixed by the first stored reading.';
create index tag_version on tag (version);
create index tag_path_prefix on tag (path text_pattern_ops);

create table tag_change (
    tag_id     integer not null references tag,
    changed_at timestamptz not null default clock_timestamp(),
    changed_by text not null,
    before     jsonb not null,
    after      jsonb not null
);
create index tag_change_tag on tag_change (tag_id, changed_at);

create table state_text (
    state_id integer generated always as identity primary key,
    text     text not null unique
);
