-- Rollups by the minute leave when they are old; those by the hour stay.

-- name: try_lock
-- For the session: one process at a time. The class keeps other advisory locks apart.
select pg_try_advisory_lock(20565, 0);

-- name: floor
-- Microseconds since 1970; no row: none has left. Asked in the snapshot that reads, it covers whatever is missing there.
select (extract(epoch from before) * 1000000)::bigint from minutes_floor;

-- name: tell
-- First of all, and only when something is to leave: whoever reads later is told, whatever becomes of us. By whole hours.
insert into minutes_floor as f (before)
select until
from (select date_trunc('hour', now() - %(kept)s::interval, 'UTC') as until) u
where exists (
    select from tag cross join lateral (
        select from rollup_1m r where r.tag_id = tag.tag_id and r.t < u.until limit 1
    ) old
)
on conflict (one) do update set before = excluded.before where f.before < excluded.before;

-- name: groups
-- What is sealed, and so has rollups, has a mark.
select grp from mark order by grp;

-- name: delete
-- Of each tag of the group the oldest, told of before. Rows that a seal holds just now wait for the next pass: so we
-- never wait for a seal, and no two of us wait for each other.
with gone as (
    delete from rollup_1m
    where ctid = any(array(
        select old.ctid
        from minutes_floor f
        cross join generate_series(%(tag_lo)s::integer, %(tag_hi)s::integer) given(tag_id)
        cross join lateral (
            select r.ctid from rollup_1m r
            where r.tag_id = given.tag_id and r.t < f.before
            order by r.t
            limit %(each_max)s
            for update skip locked
        ) old
    ))
    returning 1
)
select count(*) from gone;
