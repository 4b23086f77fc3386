-- What was committed lately, for live values; and the newest of everything, to begin with.

-- name: snapshot
set transaction isolation level repeatable read, read only;

-- name: heads
select stream, shard, position from shard;

-- name: flushes
select f.flush_id, f.stream, f.shard, f.position_hi, f.received_at, f.committed_at, f.stored
from unnest(%(streams)s::text[], %(shards)s::text[], %(positions)s::bigint[]) seen(stream, shard, position)
cross join lateral (
    select * from flush
    where flush.stream = seen.stream and flush.shard = seen.shard and flush.position_hi > seen.position
    order by position_hi
    limit %(limit)s
) f
order by f.flush_id;

-- name: chunks
-- By group, since that is how chunks are found.
select h.flush, h.tag, h.ts, h.v, h.q, h.seq, h.state
from generate_series(0, (select (max(tag_id) - 1) / 100 from tag)) g(grp)
join hot h on h.grp = g.grp::smallint and h.flush = any(%(flush_ids)s::bigint[])
order by h.flush;

-- name: all_chunks
select flush, tag, ts, v, q, seq, state from hot;

-- name: marks
select tag, ts from mark;

-- name: sealed
-- The last reading of each pack that ends at the tag's newest sealed time.
select s.tag_id, s.t1, s.k[s.n] as k, s.d, s.v[s.n] as v, s.state[s.n] as state, s.q[s.n] as q, s.seq[s.n] as seq,
       s.flush_hi, s.flush_lo, s.flush
from unnest(%(tag_ids)s::integer[], %(us)s::bigint[]) given(tag_id, us)
cross join lateral (select 'epoch'::timestamptz + us * interval '1 microsecond' as ts offset 0) mark
join segment s on s.tag_id = given.tag_id and s.t0 <= mark.ts and s.t0 > mark.ts - interval '24 hours'
    and s.t1 = mark.ts;

-- name: received
select flush_id, received_at, committed_at from flush where flush_id = any(%(flush_ids)s::bigint[]);

-- name: tag_paths
select tag_id, path from tag where tag_id > %(after)s order by tag_id;
