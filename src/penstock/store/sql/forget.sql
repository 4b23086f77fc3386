-- What may leave the database because the archive holds it, and the leaving.

-- name: first_due
-- The first day with packs that may go. A tag is kept for as long as its class is, and beyond what may still come late
-- to it; the pack with a tag's newest reading stays, for that is where the latest value is found.
with wanted as (
    select tag_id, date_trunc('day', now() - greatest(
               case when config->>'criticality' = 'critical' then %(critical)s::interval else %(standard)s::interval end,
               coalesce((config->>'window_days')::float8, 0) * interval '1 day' + interval '2 days'
           ), 'UTC') as until
    from tag
    where case when config->>'criticality' = 'critical' then %(critical)s::interval else %(standard)s::interval end
          is not null
), newest as (
    select u.tag_id, u.ts from mark m cross join lateral unnest(m.tag, m.ts) u(tag_id, ts)
), first as (
    select (p.t0 at time zone 'UTC')::date as day
    from wanted w join newest using (tag_id)
    cross join lateral (
        select s.t0
        from segment s join archive_day d on d.day = (s.t0 at time zone 'UTC')::date
        where s.tag_id = w.tag_id and s.t0 < w.until and s.t1 < w.until and s.t1 < newest.ts
          and s.flush_hi <= d.archived
        order by s.t0
        limit 1
    ) p
)
select min(day) from first;

-- name: tags_due
-- Tags with packs of the day that may go.
with wanted as (
    select tag_id, date_trunc('day', now() - greatest(
               case when config->>'criticality' = 'critical' then %(critical)s::interval else %(standard)s::interval end,
               coalesce((config->>'window_days')::float8, 0) * interval '1 day' + interval '2 days'
           ), 'UTC') as until
    from tag
    where case when config->>'criticality' = 'critical' then %(critical)s::interval else %(standard)s::interval end
          is not null
)
select w.tag_id
from wanted w
join (select u.tag_id, u.ts from mark m cross join lateral unnest(m.tag, m.ts) u(tag_id, ts)) newest using (tag_id)
where w.until >= %(end)s
  and exists (
    select from segment s where s.tag_id = w.tag_id and s.t0 >= %(start)s and s.t0 < %(end)s and s.t1 < newest.ts
  )
order by 1;

-- name: day
-- Null where something of the day is not archived, or being archived.
select archived from archive_day where day = %(day)s and begun is null and known <= archived;

-- name: segments
select number, url, flush_lo, flush_hi, readings, manifest, manifest_sha256, locked_until
from archive_segment where day = %(day)s order by number;

-- name: objects
select key, sha256, bytes, readings, locked_until from archive_object where day = %(day)s and number = %(number)s
order by part;

-- name: held
-- By tag, what the database has of the day, and whether some of it may have gone already.
select t.path, p.n, p.flush_hi, coalesce(f.before > %(start)s, false)
from tag t
cross join lateral (
    select sum(s.n)::bigint as n, max(s.flush_hi) as flush_hi
    from segment s where s.tag_id = t.tag_id and s.t0 >= %(start)s and s.t0 < %(end)s
) p
left join forgotten f using (tag_id)
where p.n > 0;

-- name: tell
-- First of all: whoever reads later is told, whatever becomes of us.
insert into forgotten as f (tag_id, before)
select tag_id, %(end)s from unnest(%(tag_ids)s::integer[]) given(tag_id) order by tag_id
on conflict (tag_id) do update set before = excluded.before where f.before < excluded.before;

-- name: lock
-- The sealer's own: no pack is merged while it is deleted. In a statement of its own, so that the next one sees it all.
select pg_advisory_xact_lock(20563, %(grp)s::integer);

-- name: delete
-- Of whole days, told of before, of flushes that the archive holds, and nothing of what is being archived just now.
with gone as (
    delete from segment
    where (tag_id, t0, segment_id) in (
        select s.tag_id, s.t0, s.segment_id
        from unnest(%(tag_ids)s::integer[]) given(tag_id)
        join forgotten f using (tag_id)
        join segment s using (tag_id)
        join archive_day d on d.day = %(day)s
        join mark m on m.grp = %(grp)s
        where s.t0 >= %(start)s and s.t0 < %(end)s and s.t1 < %(end)s and f.before >= %(end)s
          and d.begun is null and s.flush_hi <= least(d.archived, %(archived)s)
          and s.t1 < m.ts[array_position(m.tag, s.tag_id)]
        limit %(packs_max)s
    )
    returning tag_id, n
), counted as (
    update forgotten f set readings = f.readings + g.n
    from (select tag_id, sum(n)::bigint as n from gone group by tag_id) g
    where f.tag_id = g.tag_id
)
select count(*), coalesce(sum(n), 0)::bigint from gone;

-- name: status
-- The newest moment before which readings may be in the archive alone, how many went, and where to.
select max(f.before), min(f.before), coalesce(sum(f.readings), 0)::bigint, count(*),
       (select url from archive_segment order by archived_at desc limit 1)
from forgotten f;

-- name: before
-- Of one tag; and where its readings are.
select before, (select url from archive_segment order by archived_at desc limit 1)
from forgotten where tag_id = %(tag_id)s;

-- name: before_of
select path, before from forgotten join tag using (tag_id) where path = any(%(paths)s::text[]);
