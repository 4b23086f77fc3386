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
-- By group, since that is how chunks are found. `offset 0`: each by key, whatever stale statistics say.
select h.flush, h.tag, h.ts, h.v, h.q, h.seq, h.state
from generate_series(0, (select (max(tag_id) - 1) / 100 from tag)) g(grp)
cross join lateral (
    select * from hot where hot.grp = g.grp::smallint and hot.flush = any(%(flush_ids)s::bigint[]) offset 0
) h
order by h.flush;

-- name: all_chunks
select flush, tag, ts, v, q, seq, state from hot;

-- name: marks
select tag, ts from mark;

-- name: sealed
-- The last reading of each pack that ends at the tag's newest sealed time.
select s.*
from unnest(%(tag_ids)s::integer[], %(us)s::bigint[]) given(tag_id, us)
cross join lateral (select 'epoch'::timestamptz + us * interval '1 microsecond' as ts offset 0) mark
cross join lateral (
    select tag_id, t1, k[n] as k, d, v[n] as v, state[n] as state, q[n] as q, seq[n] as seq, flush_hi, flush_lo, flush
    from segment
    where tag_id = given.tag_id and t0 <= mark.ts and t0 > mark.ts - interval '24 hours' and t1 = mark.ts
    offset 0
) s;

-- name: tag_paths
select tag_id, path from tag where tag_id > %(after)s order by tag_id;
