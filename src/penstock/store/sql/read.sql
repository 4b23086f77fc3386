-- History read back as arrays. Packs and chunks come in one statement: a seal meanwhile moves, but hides nothing.

-- name: points
-- A pack spans less than a day. Of a chunk only the stretch of the one tag leaves the server.
select null::bigint as chunk, null::integer[] as tags, null::timestamptz[] as times,
       t0, n, unit, dt, v, k, d, q, seq, state, flush_lo, flush, runs
from segment
where tag_id = %(tag_id)s and t0 > %(start)s::timestamptz - interval '24 hours' and t0 < %(end)s and t1 >= %(start)s
union all
select flush, tag[a:b], ts[a:b], null, null, null, null, v[a:b], null, null, q[a:b], seq[a:b], state[a:b], null, null, null
from (
    select h.*, places[1] as a, places[cardinality(places)] as b
    from (
        select hot.*, array_positions(tag, %(tag_id)s) as places
        from hot
        where grp = ((%(tag_id)s - 1) / 100)::smallint and ts_lo < %(end)s and ts_hi >= %(start)s
        offset 0
    ) h
) h
where a is not null;

-- name: bound_up
-- Where to stop reading upwards: before the pack by which enough readings have gone by.
select coalesce(min(t0) filter (where before >= %(limit)s), case when count(*) = 1024 then max(t0) end)
from (
    select t0, sum(n) over (order by t0, segment_id) - n as before
    from (
        select t0, segment_id, n from segment
        where tag_id = %(tag_id)s and t0 > %(start)s and t0 < %(end)s
        order by t0, segment_id
        limit 1024
    ) next
) p;

-- name: bound_down
select coalesce(max(t0) filter (where upto >= %(limit)s), case when count(*) = 1024 then min(t0) end)
from (
    select t0, sum(n) over (order by t0 desc, segment_id desc) as upto
    from (
        select t0, segment_id, n from segment
        where tag_id = %(tag_id)s and t0 > %(start)s and t0 < %(end)s
        order by t0 desc, segment_id desc
        limit 1024
    ) next
) p;

-- name: count
select coalesce(sum(n), 0)::bigint from segment
where tag_id = %(tag_id)s and t0 > %(start)s::timestamptz - interval '24 hours' and t0 < %(end)s and t1 >= %(start)s;

-- name: flushes
select flush_id, received_at, committed_at from flush where flush_id = any(%(flush_ids)s::bigint[]);

-- name: state_texts
select state_id, text from state_text where state_id = any(%(state_ids)s::integer[]);

-- name: rollup_1m
select t, n, lo, hi, total, last_ts, last_seq, last from rollup_1m
where tag_id = %(tag_id)s and t >= %(start)s and t < %(end)s order by t limit %(limit)s;

-- name: rollup_1h
select t, n, lo, hi, total, last_ts, last_seq, last from rollup_1h
where tag_id = %(tag_id)s and t >= %(start)s and t < %(end)s order by t limit %(limit)s;

-- name: hot_points
select flush, tag[a:b], ts[a:b], v[a:b], q[a:b], seq[a:b], state[a:b]
from (
    select h.*, places[1] as a, places[cardinality(places)] as b
    from (
        select hot.*, array_positions(tag, %(tag_id)s) as places
        from hot
        where grp = ((%(tag_id)s - 1) / 100)::smallint and ts_lo < %(end)s and ts_hi >= %(start)s
        offset 0
    ) h
) h
where a is not null;
