-- Streams that many machines share: leases that expire, positions of any size, and what producers counted.

alter table shard
    alter position type numeric,
    add column moved      bigint not null default 0,
    add column lane       text,
    add column slices     int4range,
    add column parents    text[] not null default '{}',
    add column ended      boolean not null default false,
    add column lost       boolean not null default false;
comment on column shard.moved is 'Readings sent on to the unit that owns their tag; there they are received once more.';
comment on column shard.lost is 'The stream dropped entries before they were taken: its retention ran out.';

create table lease (
    stream      text not null,
    unit        text not null,
    owner       text,
    epoch       bigint not null default 0,
    expires_at  timestamptz not null default '-infinity',
    wanted_by   text,
    behind_ms   bigint,
    progress_at timestamptz,
    named_at    timestamptz not null default clock_timestamp(),
    primary key (stream, unit)
) with (fillfactor = 20);
comment on table lease is 'Who works on a unit of a shared stream; local streams have none. Apart from shard, whose rows flushes lock: a heartbeat never waits for a flush.';
comment on column lease.epoch is 'The shard''s, as it was when this owner took it.';
comment on column lease.expires_at is 'By this database''s clock; of a lease that was given up, when that was.';
comment on column lease.progress_at is 'When this owner last committed something, or saw that there was nothing.';
comment on column lease.named_at is 'When the stream was last known to have this unit.';

create table worker (
    stream  text not null,
    owner   text not null,
    seen_at timestamptz not null default clock_timestamp(),
    primary key (stream, owner)
);
comment on table worker is 'Who takes part in a shared stream; leases are divided among those seen lately.';

alter table flush
    alter position_lo type numeric,
    alter position_hi type numeric,
    add column moved integer not null default 0,
    add column repeated numeric[];
comment on column flush.repeated is 'Entries that a producer had put before; they were passed over.';
alter table balance_minute add column moved bigint not null default 0, add column stream text not null default '';
update balance_minute set stream = (select min(stream) from shard)
where (select count(distinct stream) from shard) = 1;
alter table balance_minute drop constraint balance_minute_pkey, add primary key (received_minute, stream);
comment on column balance_minute.stream is 'Empty for minutes of before streams were told apart, where there was more than one.';
alter table quarantine alter position type numeric;
alter table conflict alter position type numeric;
alter table repeat alter position type numeric[];

create table producer (
    stream   text not null,
    producer uuid not null,
    alive_at timestamptz not null,
    primary key (stream, producer)
) with (fillfactor = 50);
comment on table producer is 'Who puts readings on a shared stream, and when they last said so.';

create table produced (
    stream   text not null,
    producer uuid not null,
    belt     integer not null,
    put      bigint not null default 0,
    seen     bigint not null default 0,
    put_at   timestamptz,
    primary key (stream, producer, belt)
) with (fillfactor = 50);
comment on table produced is 'By belt (a slice of tags in a lane) what a producer says it put, and what was seen of its count by those who take.';
comment on column produced.put_at is 'When the producer last said that it had put more.';
comment on column produced.put is 'Readings acknowledged by the stream; written by the producer, late when the database was away.';
comment on column produced.seen is 'The producer''s own count in the last entry that was committed; for foreign producers, readings taken.';

create view produced_sum as
select p.stream, p.producer, p.belt, greatest(p.put, p.seen) as received,
       case when tip.at - interval '1 minute' > p.put_at then 0 else greatest(0, p.put - p.seen) end as in_flight
from produced p left join (
    select s.stream, min(l.progress_at) as at
    from shard s left join lease l on l.stream = s.stream and l.unit = s.shard
    where not s.ended
    group by s.stream
    having bool_and(l.behind_ms is not distinct from 0 and l.progress_at is not null)
) tip using (stream);
comment on view produced_sum is
    'What producers put is in flight until it is seen, or until everything in the stream was taken a minute later: then it is lost.';

create table produced_minute (
    stream          text not null,
    producer        uuid not null,
    received_minute timestamptz not null,
    put             bigint not null default 0,
    seen            bigint not null default 0,
    primary key (stream, producer, received_minute)
) with (fillfactor = 50);
create index produced_minute_of on produced_minute (stream, received_minute);

create table flush_request (
    stream   text not null,
    producer uuid not null,
    hi       bigint not null,
    lo       bigint not null,
    flush_id bigint not null,
    primary key (stream, producer, hi, flush_id)
);
create index flush_request_span on flush_request using gist (int8range(lo, hi, '[]'));
comment on table flush_request is 'Which requests of a producer have readings in a flush: lo <= request <= hi.';

alter table detector_snapshot add column unit text not null default 'all';
alter table detector_snapshot drop constraint detector_snapshot_pkey, add primary key (stream, unit);
