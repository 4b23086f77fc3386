-- What is archived, what waits for it, and the readings of a day through a given flush.

-- name: try_lock
-- For the session: one archiver at a time. The class keeps other advisory locks apart.
select pg_try_advisory_lock(20564, 0);

-- name: last_flush
select case when is_called then last_value else 0 end from flush_id;

-- name: flushing
-- Whoever has taken a number from a sequence holds a lock on it until the transaction ends.
select virtualtransaction from pg_locks
where locktype = 'relation' and mode = 'RowExclusiveLock' and granted
  and relation = 'flush_id'::regclass and database = (select oid from pg_database where datname = current_database());

-- name: first_unsealed
select min(flush) from hot;

-- name: unsealed_groups
select distinct grp from hot order by grp;

-- name: mark
select flush from archive_mark;

-- name: discover
insert into archive_day as d (day, known)
select (t0 at time zone 'UTC')::date, max(flush_hi) from segment where flush_hi > %(mark)s group by 1
on conflict (day) do update set known = excluded.known where excluded.known > d.known;

-- name: move_mark
update archive_mark set flush = %(horizon)s where flush < %(horizon)s;

-- name: due
-- Closed days that were added to. What comes late to an archived day gathers for a while.
select day, archived, begun, begun_at, critical
from archive_day
where known > archived and ((day + 1)::timestamp at time zone 'UTC') + %(after)s::interval <= now()
  and (begun is not null or archived_at is null or archived_at + %(late)s::interval <= now())
order by day;

-- name: begin
update archive_day
set begun = %(horizon)s, begun_at = clock_timestamp(),
    critical = case when %(split)s then array(select tag_id from tag where config->>'criticality' = 'critical') end
where day = %(day)s and begun is null and archived < %(horizon)s
returning archived, begun, begun_at, critical;

-- name: previous
select number, manifest, manifest_sha256 from archive_segment where day = %(day)s order by number desc limit 1;

-- name: tags
-- Tags with packs of the day that may have readings of the span, in order of their paths.
select t.tag_id, t.path, p.n
from tag t cross join lateral (
    select sum(s.n)::bigint as n from segment s
    where s.tag_id = t.tag_id and s.t0 >= %(start)s and s.t0 < %(end)s
      and s.flush_hi > %(flush_lo)s and s.flush_lo <= %(flush_hi)s
) p
where p.n > 0
order by t.path collate "C";

-- name: cuts
-- Where to cut one tag's day, so that no piece has much more than so many readings.
select min(t0) from (
    select t0, (sum(n) over (order by t0, segment_id) - n) / %(size)s as piece
    from segment
    where tag_id = %(tag_id)s and t0 >= %(start)s and t0 < %(end)s
      and flush_hi > %(flush_lo)s and flush_lo <= %(flush_hi)s
) p
group by piece
order by 1;

-- name: packs
-- A pack spans no more than its UTC day.
select tag_id, t0, n, unit, dt, v, k, d, q, seq, state, flush_lo, flush, runs
from segment
where tag_id = any(%(tag_ids)s::integer[]) and t0 >= %(start)s and t0 < %(hi)s and t1 >= %(lo)s
  and flush_hi > %(flush_lo)s and flush_lo <= %(flush_hi)s
order by tag_id, t0, segment_id;

-- name: close
update archive_day
set archived = begun, begun = null, begun_at = null, critical = null,
    archived_at = case when %(made)s then clock_timestamp() else archived_at end
where day = %(day)s and archived = %(flush_lo)s and begun = %(flush_hi)s;

-- name: add_segment
insert into archive_segment
    (day, number, url, flush_lo, flush_hi, readings, bytes, manifest, manifest_sha256, version, locked_until, made_at,
     standard_until, kept_until)
values (%(day)s, %(number)s, %(url)s, %(flush_lo)s, %(flush_hi)s, %(readings)s, %(bytes)s, %(manifest)s,
        %(manifest_sha256)s, %(version)s, %(locked_until)s, %(made_at)s, %(standard_until)s, %(kept_until)s);

-- name: add_object
insert into archive_object
    (day, number, part, key, sha256, readings, bytes, ts_lo, ts_hi, etag, version, locked_until, class)
values (%(day)s, %(number)s, %(part)s, %(key)s, %(sha256)s, %(readings)s, %(bytes)s, %(ts_lo)s, %(ts_hi)s, %(etag)s,
        %(version)s, %(locked_until)s, %(class)s);

-- name: add_standard
-- By tag it stays known also when the files have expired.
insert into archive_standard as a (tag_id, first_day, last_day)
select tag_id, %(day)s, %(day)s from tag where path = any(%(paths)s::text[]) order by tag_id
on conflict (tag_id) do update
set first_day = least(a.first_day, excluded.first_day), last_day = greatest(a.last_day, excluded.last_day)
where excluded.first_day < a.first_day or excluded.last_day > a.last_day;

-- name: status
select count(distinct s.day) as days, count(distinct (s.day, s.number)) as segments, count(o.key) as objects,
       coalesce(sum(o.readings), 0)::bigint as readings, coalesce(sum(o.bytes), 0)::bigint as bytes,
       coalesce(sum(o.readings) filter (where o.class = 'standard'), 0)::bigint as standard_readings,
       coalesce(sum(o.readings) filter (where o.class = 'standard' and s.standard_until <= now()), 0)::bigint
           as expired_readings,
       min(s.day) as first_day, max(s.day) as last_day, max(s.locked_until) as locked_until,
       max(s.archived_at) as archived_at
from archive_segment s join archive_object o using (day, number);

-- name: waiting
-- Closed days that wait for the first time, and archived ones that were added to since.
select count(*) filter (where archived_at is null), count(*) filter (where archived_at is not null),
       min(day) filter (where archived_at is null)
from archive_day
where known > archived and ((day + 1)::timestamp at time zone 'UTC') + %(after)s::interval <= now();
