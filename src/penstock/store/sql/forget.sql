-- What may leave the database because the archive holds it, and the leaving.

-- name: first_due
-- The first day with packs that may go. What the archive need not hold much longer is skipped, else it would hold up the
-- days after it for ever.
with first as (
    select (p.t0 at time zone 'UTC')::date as day
    from tags_leaving(%(standard)s::interval, %(critical)s::interval) w
    cross join lateral (
        select s.t0
        from segment s join archive_day d on d.day = (s.t0 at time zone 'UTC')::date
        where s.tag_id = w.tag_id and s.t0 < w.until and s.t1 < w.until and s.t1 < w.newest
          and s.flush_hi <= d.archived
          and not exists (
              select from archive_segment a where a.day = d.day
                and case when d.day between w.standard_from and w.standard_to
                    then least(a.standard_until, coalesce(a.kept_until, a.locked_until))
                    else coalesce(a.kept_until, a.locked_until) end <= now() + %(shown)s::interval
          )
        order by s.t0
        limit 1
    ) p
)
select min(day) from first;

-- name: tags_due
-- Tags with packs of the day that may go.
select w.tag_id, t.path
from tags_leaving(%(standard)s::interval, %(critical)s::interval) w join tag t using (tag_id)
where w.until >= %(end)s
  and exists (
    select from segment s where s.tag_id = w.tag_id and s.t0 >= %(start)s and s.t0 < %(end)s and s.t1 < w.newest
  )
  and not exists (
    select from archive_segment a where a.day = %(day)s
      and case when %(day)s between w.standard_from and w.standard_to
          then least(a.standard_until, coalesce(a.kept_until, a.locked_until))
          else coalesce(a.kept_until, a.locked_until) end <= now() + %(shown)s::interval
  )
order by 1;

-- name: day
-- Null where something of the day is not archived, or being archived.
select archived from archive_day where day = %(day)s and begun is null and known <= archived;

-- name: segments
select number, url, flush_lo, flush_hi, readings, manifest, manifest_sha256, locked_until
from archive_segment where day = %(day)s order by number;

-- name: objects
select key, sha256, bytes, readings, locked_until, class from archive_object
where day = %(day)s and number = %(number)s order by part;

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
       (
           select url from archive_segment where day < (select (max(before) at time zone 'UTC')::date from forgotten)
           order by day desc, number limit 1
       )
from forgotten f;

-- name: expired
-- Likewise in nothing any more, of any tag.
select max(expired_before) from history_floor;

-- name: before
-- Of one tag, also before when its readings may be in nothing any more; and where the others are.
select before,
       (
           select url from archive_segment where day < (before at time zone 'UTC')::date
           order by day desc, number limit 1
       ),
       expired_before
from history_floor where tag_id = %(tag_id)s;

-- name: before_of
select path, before, expired_before from history_floor join tag using (tag_id) where path = any(%(paths)s::text[]);
