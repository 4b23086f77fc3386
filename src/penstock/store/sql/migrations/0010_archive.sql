-- The archive: which days of history are kept outside as files, through which flush, and where.

create index segment_flush on segment (flush_hi);
comment on index segment_flush is 'Finds the days that were added to since somebody last looked.';

create table archive_mark (
    one   boolean primary key default true check (one),
    flush bigint not null default 0
);
insert into archive_mark default values;
comment on table archive_mark is 'One row: the days of all readings that came by flushes up to here are in archive_day.';

create table archive_day (
    day         date primary key,
    known       bigint not null,
    archived    bigint not null default 0,
    begun       bigint,
    begun_at    timestamptz,
    archived_at timestamptz,
    check ((begun is null) = (begun_at is null))
) with (fillfactor = 50);
comment on table archive_day is 'UTC days that have readings; a day waits for the archive while known > archived.';
comment on column archive_day.known is 'The last flush known to have added to the day, or one after it.';
comment on column archive_day.archived is 'The day''s readings of flushes up to here are archived.';
comment on column archive_day.begun is
    'Up to here is being archived. Written down first: whoever begins anew makes the same objects again, byte for byte.';

create table archive_segment (
    day             date not null,
    number          integer not null check (number > 0),
    url             text not null,
    flush_lo        bigint not null,
    flush_hi        bigint not null,
    readings        bigint not null check (readings > 0),
    bytes           bigint not null,
    manifest        text not null,
    manifest_sha256 bytea not null check (length(manifest_sha256) = 32),
    version         text,
    locked_until    timestamptz,
    made_at         timestamptz not null,
    archived_at     timestamptz not null default clock_timestamp(),
    primary key (day, number),
    check (flush_lo < flush_hi)
);
comment on table archive_segment is
    'What was archived of a day at one time; number 1 is the day as it was closed, later ones what came late.';
comment on column archive_segment.flush_lo is 'It holds the day''s readings with flush_lo < flush_id <= flush_hi.';
comment on column archive_segment.url is 'The archive as the settings named it; keys are relative to it.';
comment on column archive_segment.version is 'Of the manifest, where the store keeps versions.';

create table archive_object (
    day          date not null,
    number       integer not null,
    part         integer not null check (part > 0),
    key          text not null,
    sha256       bytea not null check (length(sha256) = 32),
    readings     bigint not null check (readings > 0),
    bytes        bigint not null,
    ts_lo        timestamptz not null,
    ts_hi        timestamptz not null,
    etag         text,
    version      text,
    locked_until timestamptz,
    primary key (day, number, part),
    foreign key (day, number) references archive_segment
);
comment on table archive_object is 'A Parquet file of a segment. It stands here only after the archive showed its checksum.';
