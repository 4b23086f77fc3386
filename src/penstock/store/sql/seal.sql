-- From chunks to packs, and from small packs to full ones.

-- name: lock
-- One sealer a group at a time; the class keeps other advisory locks apart.
select pg_try_advisory_xact_lock(20563, %(grp)s::integer);

-- name: groups
select distinct grp from hot order by grp;

-- name: chunks
select flush, tag, ts, v, q, seq, state
from (
    select h.*, sum(n) over (order by flush) - n as before from hot h where grp = %(grp)s
) h
where before < %(readings_max)s
order by flush;

-- name: forget
delete from hot where grp = %(grp)s and flush = any(%(flushes)s::bigint[]);

-- name: mark
insert into mark as m (grp, tag, ts)
select %(grp)s, array_agg(tag order by tag), array_agg('epoch'::timestamptz + us * interval '1 microsecond' order by tag)
from unnest(%(tag)s::integer[], %(ts)s::bigint[]) given(tag, us)
on conflict (grp) do update
set (tag, ts) = (
    select array_agg(tag order by tag), array_agg(ts order by tag)
    from (
        select tag, max(ts) as ts
        from (select * from unnest(m.tag, m.ts) union all select * from unnest(excluded.tag, excluded.ts)) every(tag, ts)
        group by tag
    ) newest
);

-- name: rollup_1m
insert into rollup_1m as r (tag_id, t, n, lo, hi, total, last_ts, last_seq, last)
select tag_id, 'epoch'::timestamptz + t * interval '1 microsecond', n, lo, hi, total,
       'epoch'::timestamptz + last_ts * interval '1 microsecond', last_seq, last
from unnest(%(tag_id)s::integer[], %(t)s::bigint[], %(n)s::integer[], %(lo)s::float8[], %(hi)s::float8[],
            %(total)s::float8[], %(last_ts)s::bigint[], %(last_seq)s::bigint[], %(last)s::float8[])
     given(tag_id, t, n, lo, hi, total, last_ts, last_seq, last)
on conflict (tag_id, t) do update
set n = r.n + excluded.n, lo = least(r.lo, excluded.lo), hi = greatest(r.hi, excluded.hi),
    total = r.total + excluded.total,
    (last_ts, last_seq, last) = (
        select newest.* from (values (r.last_ts, r.last_seq, r.last), (excluded.last_ts, excluded.last_seq, excluded.last))
            newest(ts, seq, value)
        order by ts desc, seq desc limit 1
    );

-- name: rollup_1h
insert into rollup_1h as r (tag_id, t, n, lo, hi, total, last_ts, last_seq, last)
select tag_id, 'epoch'::timestamptz + t * interval '1 microsecond', n, lo, hi, total,
       'epoch'::timestamptz + last_ts * interval '1 microsecond', last_seq, last
from unnest(%(tag_id)s::integer[], %(t)s::bigint[], %(n)s::integer[], %(lo)s::float8[], %(hi)s::float8[],
            %(total)s::float8[], %(last_ts)s::bigint[], %(last_seq)s::bigint[], %(last)s::float8[])
     given(tag_id, t, n, lo, hi, total, last_ts, last_seq, last)
on conflict (tag_id, t) do update
set n = r.n + excluded.n, lo = least(r.lo, excluded.lo), hi = greatest(r.hi, excluded.hi),
    total = r.total + excluded.total,
    (last_ts, last_seq, last) = (
        select newest.* from (values (r.last_ts, r.last_seq, r.last), (excluded.last_ts, excluded.last_seq, excluded.last))
            newest(ts, seq, value)
        order by ts desc, seq desc limit 1
    );

-- name: small
-- Packs of one day that are worth merging: sixteen of a level, or any two once the day is over.
with unmerged as (
    select tag_id, t0, segment_id, n, level, over, count(*) over (partition by tag_id, day, tier) as packs
    from segment, lateral (
        select floor(extract(epoch from t0) / 86400) as day, t0 < now() - interval '25 hours' as over offset 0
    ) d, lateral (select case when over then -1 else level end as tier) t
    where tag_id between %(tag_lo)s and %(tag_hi)s and level < 2
), chosen as (
    select tag_id, t0, segment_id, over, sum(n) over (order by tag_id, t0, segment_id) as upto
    from unmerged
    where packs >= case when over then 2 else %(packs_min)s end
)
select s.tag_id, s.segment_id, s.level, c.over, s.t0, s.n, s.unit, s.dt, s.v, s.k, s.d, s.q, s.seq, s.state,
       s.flush_lo, s.flush, s.runs
from chosen c join segment s using (tag_id, t0, segment_id)
where c.upto <= %(readings_max)s
order by s.tag_id, s.t0, s.segment_id;

-- name: replace
delete from segment s
using unnest(%(tag_id)s::integer[], %(t0)s::bigint[], %(segment_id)s::bigint[]) old(tag_id, us, segment_id)
where s.tag_id = old.tag_id and s.t0 = 'epoch'::timestamptz + us * interval '1 microsecond'
  and s.segment_id = old.segment_id;
