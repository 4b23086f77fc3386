-- History: grouped hot chunks, sealed into packs of one tag each; and the flushes that brought them.

create table shard (
    stream      text not null,
    shard       text not null,
    epoch       bigint not null default 0,
    owner       text,
    position    bigint not null default 0,
    counted     bigint not null default 0,
    stored      bigint not null default 0,
    duplicate   bigint not null default 0,
    conflict    bigint not null default 0,
    quarantined bigint not null default 0,
    late        bigint not null default 0,
    primary key (stream, shard)
) with (fillfactor = 20);
comment on column shard.position is 'Committed up to this entry of the stream; moved in the transaction that stores its readings.';
comment on column shard.counted is 'Readings in the shard up to position, by the stream''s own count.';

create sequence flush_id;

create table flush (
    flush_id     bigint primary key,
    stream       text not null,
    shard        text not null,
    position_lo  bigint not null,
    position_hi  bigint not null,
    received_at  timestamptz not null,
    committed_at timestamptz not null,
    readings     integer not null,
    stored       integer not null,
    duplicate    integer not null,
    conflict     integer not null,
    quarantined  integer not null,
    late         integer not null
);
comment on table flush is 'One transaction of one shard: entries position_lo < position <= position_hi.';
comment on column flush.received_at is 'When the flush''s first entry was accepted.';
create index flush_place on flush (stream, shard, position_hi);
create index flush_committed on flush (committed_at);

create table balance_minute (
    received_minute timestamptz primary key,
    stored          bigint not null default 0,
    duplicate       bigint not null default 0,
    conflict        bigint not null default 0,
    quarantined     bigint not null default 0,
    late            bigint not null default 0
) with (fillfactor = 50);

-- Absent columns: v is null when no reading of the row has a value (else NaN marks none), q when all are good (0),
-- seq when none has one (else -2^63 marks none), state when none has one (else -1 marks none).
create table hot (
    grp   smallint not null,
    flush bigint not null,
    n     integer not null,
    ts_lo timestamptz not null,
    ts_hi timestamptz not null,
    tag   integer[] not null,
    ts    timestamptz[] not null,
    v     double precision[],
    q     bigint[],
    seq   bigint[],
    state integer[],
    primary key (grp, flush)
) with (
    toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
comment on table hot is 'One row a flush and group: its readings, sorted by tag, ts, seq. Sealed into segment, then deleted.';
alter table hot
    alter tag set statistics 0, alter ts set statistics 0, alter v set statistics 0,
    alter q set statistics 0, alter seq set statistics 0, alter state set statistics 0,
    alter tag set storage main, alter ts set storage main, alter v set storage main;

create table segment (
    tag_id     integer not null,
    t0         timestamptz not null,
    segment_id bigint generated always as identity,
    t1         timestamptz not null,
    n          integer not null,
    unit       integer not null,
    level      smallint not null,
    dt         integer[] not null,
    v          double precision[],
    k          integer[],
    d          smallint,
    q          bigint[],
    seq        bigint[],
    state      integer[],
    flush_lo   bigint not null,
    flush_hi   bigint not null,
    flush      integer[],
    runs       integer[],
    primary key (tag_id, t0, segment_id)
);
comment on table segment is 'A pack: up to 4,096 readings of one tag within one day, sorted by ts, seq.';
comment on column segment.unit is 'Microseconds a tick; ts[i] = t0 + dt[i] * unit.';
comment on column segment.k is 'value[i] = k[i] / 10^d, checked to the bit; otherwise v holds the values.';
comment on column segment.level is 'How often its readings were merged; 2 is done.';
comment on column segment.flush is
    'Run-length, in steps: run j came by flush_lo + flush[1] + … + flush[j]; null when one flush brought all.';
comment on column segment.runs is 'Readings of each run; null when every run is one reading.';
create index segment_unmerged on segment (tag_id, t0) where level < 2;
alter table segment
    alter dt set statistics 0, alter v set statistics 0, alter k set statistics 0, alter q set statistics 0,
    alter seq set statistics 0, alter state set statistics 0, alter flush set statistics 0, alter runs set statistics 0;

create table mark (
    grp smallint primary key,
    tag integer[] not null,
    ts  timestamptz[] not null
);
comment on table mark is 'The newest sealed ts of each tag of a group; a start reads this and hot, not the history.';

create table rollup_1m (
    tag_id   integer not null,
    t        timestamptz not null,
    n        integer not null,
    lo       double precision not null,
    hi       double precision not null,
    total    double precision not null,
    last_ts  timestamptz not null,
    last_seq bigint not null,
    last     double precision not null,
    primary key (tag_id, t)
) with (fillfactor = 70);
create table rollup_1h (like rollup_1m including all) with (fillfactor = 50);
comment on column rollup_1m.last_seq is '-2^63 is none; last is the value that is newest by (ts, seq).';
comment on table rollup_1m is 'Sealed good and uncertain values by the minute, merged when sealed; what is still hot is added when read.';
