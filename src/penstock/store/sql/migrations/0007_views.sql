-- History as rows, for people and their SQL. One statement is one snapshot: a seal meanwhile moves, but hides nothing.

create function flushes_of(lo bigint, steps integer[], runs integer[]) returns bigint[]
language sql immutable parallel safe
as $$
    select case
        when steps is null then null
        when runs is null then (
            select array_agg(flush order by run)
            from (select run, lo + sum(step) over (order by run) as flush from unnest(steps) with ordinality u(step, run)) r
        )
        else (
            select array_agg(flush order by run)
            from (
                select run, length, lo + sum(step) over (order by run) as flush
                from unnest(steps, runs) with ordinality u(step, length, run)
            ) r, generate_series(1, length)
        )
    end
$$;
comment on function flushes_of is 'The flush of each reading of a pack, from run-length coded steps; null when one brought all.';

-- Both views say `ts` last of all: what narrows t0, t1, ts_lo, ts_hi and grp is what makes them fast.
create view segment_readings as
select s.tag_id, s.t0, s.t1,
       s.t0 + u.dt::bigint * s.unit * interval '1 microsecond' as ts,
       nullif(u.seq, '-9223372036854775808') as seq,
       nullif(coalesce(u.v, u.k / ('{1,1e1,1e2,1e3,1e4,1e5,1e6}'::float8[])[s.d + 1]), 'NaN') as value,
       nullif(u.state, -1) as state_id,
       coalesce(u.q, 0) as quality,
       coalesce(u.flush, s.flush_lo) as flush_id
from segment s
cross join lateral unnest(s.dt, s.v, s.k, s.q, s.seq, s.state, flushes_of(s.flush_lo, s.flush, s.runs))
    u(dt, v, k, q, seq, state, flush);

create view hot_readings as
select h.grp, h.ts_lo, h.ts_hi, u.tag as tag_id, u.ts,
       nullif(u.seq, '-9223372036854775808') as seq,
       nullif(u.v, 'NaN') as value,
       nullif(u.state, -1) as state_id,
       coalesce(u.q, 0) as quality,
       h.flush as flush_id
from hot h
cross join lateral unnest(h.tag, h.ts, h.v, h.q, h.seq, h.state) u(tag, ts, v, q, seq, state);

create view readings as
select t.path, t.tag_id, r.ts, r.seq, r.value,
       (select text from state_text s where s.state_id = r.state_id) as state,
       r.quality,
       (select f.received_at from flush f where f.flush_id = r.flush_id) as received_at,
       (select f.committed_at from flush f where f.flush_id = r.flush_id) as stored_at
from tag t join segment_readings r using (tag_id)
union all
select t.path, t.tag_id, r.ts, r.seq, r.value,
       (select text from state_text s where s.state_id = r.state_id),
       r.quality,
       (select f.received_at from flush f where f.flush_id = r.flush_id),
       (select f.committed_at from flush f where f.flush_id = r.flush_id)
from tag t join hot_readings r on r.grp = t.grp and r.tag_id = t.tag_id;
comment on view readings is 'Every stored reading. For a tag and a range of time readings_between is much faster.';

create function readings_between(tag text, lo timestamptz, hi timestamptz)
returns table (
    ts timestamptz, seq bigint, value double precision, state text, quality bigint,
    received_at timestamptz, stored_at timestamptz
)
language sql stable parallel safe rows 1000
as $$
    select r.ts, r.seq, r.value,
           (select s.text from state_text s where s.state_id = r.state_id),
           r.quality, f.received_at, f.committed_at
    from (
        select s.ts, s.seq, s.value, s.state_id, s.quality, s.flush_id
        from segment_readings s
        where s.tag_id = (select t.tag_id from tag t where t.path = $1)
          and s.t0 > $2 - interval '24 hours' and s.t0 < $3 and s.t1 >= $2
        union all
        select h.ts, h.seq, h.value, h.state_id, h.quality, h.flush_id
        from hot_readings h
        where h.grp = (select t.grp from tag t where t.path = $1)
          and h.tag_id = (select t.tag_id from tag t where t.path = $1)
          and h.ts_lo < $3 and h.ts_hi >= $2
    ) r left join flush f using (flush_id)
    where r.ts >= $2 and r.ts < $3
    order by r.ts, r.seq nulls first
$$;
comment on function readings_between is 'A tag''s readings with lo <= ts < hi, in order of (ts, seq).';
