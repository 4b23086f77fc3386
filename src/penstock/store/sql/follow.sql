-- What was committed lately, for live values; and the newest of everything, to begin with.

-- name: snapshot
set transaction isolation level repeatable read, read only;

-- name: heads
select stream, shard, position from shard;

-- name: flushes
select f.flush_id, f.stream, f.shard, f.position_hi, f.received_at, f.committed_at, f.stored
from unnest(%(streams)s::text[], %(shards)s::text[], %(positions)s::numeric[]) seen(stream, shard, position)
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

-- name: seals
-- Which transaction sealed each group last.
select grp, xmin::text::bigint from mark;

-- name: sealed_packs
-- What recent flushes brought to these groups, as far as it is within an hour of its tag's newest; a pack spans a day.
select s.tag_id, s.t0, s.n, s.unit, s.dt, s.v, s.k, s.d, s.q, s.seq, s.state, s.flush_lo, s.flush, s.runs
from mark m
cross join lateral unnest(m.tag, m.ts) newest(tag_id, ts)
cross join lateral (
    select * from segment
    where segment.tag_id = newest.tag_id and t0 <= newest.ts and t0 > newest.ts - interval '25 hours'
      and flush_hi >= %(flush_lo)s
    offset 0
) s
where m.grp = any(%(groups)s::smallint[]);

-- name: tag_paths
select tag_id, path from tag where tag_id > %(after)s order by tag_id;
