-- What detectors had learned, and up to which entries: a new worker loads it and replays the rest.

create table detector_snapshot (
    stream    text primary key,
    positions jsonb not null,
    state     bytea not null,
    taken_at  timestamptz not null default clock_timestamp()
);
comment on column detector_snapshot.positions is 'By shard: the last entry the state has learned from.';
