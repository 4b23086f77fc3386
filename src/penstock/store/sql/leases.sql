-- Who works on which unit of a shared stream. Time is this database's alone.
-- Nobody waits for a shard's row while it holds a lease's row, so that heartbeats never wait for a flush.

-- name: meet
insert into shard (stream, shard, lane, slices, parents)
select %(stream)s, it ->> 'name', it ->> 'lane', int4range((it ->> 'lo')::integer, (it ->> 'hi')::integer),
       array(select jsonb_array_elements_text(it -> 'parents'))
from jsonb_array_elements(%(shards)s::jsonb) it
order by it ->> 'name'
on conflict (stream, shard) do nothing;

-- name: meet_leases
insert into lease (stream, unit, met_at)
select %(stream)s, unit, clock_timestamp() from unnest(%(units)s::text[]) unit order by unit
on conflict (stream, unit) do nothing;

-- name: name_units
update lease l set named_at = clock_timestamp()
from (
    select unit from lease
    where stream = %(stream)s and unit = any(%(units)s::text[])
        and named_at < clock_timestamp() - %(again_s)s * interval '1 second'
    for update skip locked
) old
where l.stream = %(stream)s and l.unit = old.unit;

-- name: lose_units
-- Only what nobody named for a while: another worker's list may be older than the last split.
with missing as (
    select s.shard
    from shard s join lease l on l.stream = s.stream and l.unit = s.shard
    where s.stream = %(stream)s and not s.ended and s.shard <> all(%(units)s::text[])
        and l.named_at < clock_timestamp() - %(after_s)s * interval '1 second'
    for update of s skip locked
)
update shard s set ended = true, lost = true, epoch = s.epoch + 1
from missing where s.stream = %(stream)s and s.shard = missing.shard
returning s.shard;

-- name: attend
with gone as (
    delete from worker
    where stream = %(stream)s and owner <> %(owner)s and seen_at < clock_timestamp() - 10 * %(ttl_s)s * interval '1 second'
)
insert into worker (stream, owner) values (%(stream)s, %(owner)s)
on conflict (stream, owner) do update set seen_at = clock_timestamp();

-- name: beat
with alive as (
    select owner from worker
    where stream = %(stream)s and seen_at > clock_timestamp() - %(ttl_s)s * interval '1 second'
), kept as (
    update lease l
    set expires_at = clock_timestamp() + %(ttl_s)s * interval '1 second',
        behind_ms = given.behind_ms,
        progress_at = case when given.progressed then clock_timestamp() else l.progress_at end,
        wanted_by = case when l.wanted_by in (select owner from alive) then l.wanted_by end
    from unnest(%(units)s::text[], %(epochs)s::bigint[], %(behind_ms)s::bigint[], %(progressed)s::boolean[])
             given(unit, epoch, behind_ms, progressed),
         shard s
    where l.stream = %(stream)s and l.unit = given.unit and l.owner = %(owner)s and l.epoch >= given.epoch
        and s.stream = l.stream and s.shard = l.unit and not s.ended
    returning l.unit, l.wanted_by
)
select array(select unit from kept), array(select unit from kept where wanted_by is not null),
       (select count(*) from alive),
       (select count(*) from shard s join lease l on l.stream = s.stream and l.unit = s.shard
        where s.stream = %(stream)s and not s.ended);

-- name: acquire
-- First what was given up for us; then the lane of which we have the smaller part, the critical one before the other.
-- What was given up for another is left to it for half the time that a lease lasts.
with mine as (
    select s.lane, count(*) as units
    from lease l join shard s on s.stream = l.stream and s.shard = l.unit
    where l.stream = %(stream)s and l.owner = %(owner)s and l.expires_at > clock_timestamp() and not s.ended
    group by s.lane
), everyones as (
    select lane, count(*) as units from shard where stream = %(stream)s and not ended group by lane
), picked as (
    select l.unit
    from lease l
    join shard s on s.stream = l.stream and s.shard = l.unit
    where l.stream = %(stream)s and l.unit <> all(%(avoid)s::text[]) and not s.ended
        and l.expires_at <= clock_timestamp() - %(idle_s)s * interval '1 second'
        and (%(idle_s)s = 0 or l.expires_at > '-infinity')
        and not exists (select from shard p where p.stream = s.stream and p.shard = any(s.parents) and not p.ended)
        and (coalesce(l.wanted_by, %(owner)s) = %(owner)s
             or l.expires_at <= clock_timestamp() - %(ttl_s)s / 2 * interval '1 second')
    order by
        l.wanted_by is not null and l.wanted_by = %(owner)s desc,
        coalesce((select units from mine where mine.lane is not distinct from s.lane), 0)::float8
            / (select units from everyones where everyones.lane is not distinct from s.lane),
        s.lane is not null and s.lane = 'critical' desc,
        l.unit
    limit 1
    for update of l, s skip locked
), raised as (
    update shard s set epoch = s.epoch + 1, owner = %(owner)s
    from picked where s.stream = %(stream)s and s.shard = picked.unit
    returning s.shard, s.epoch, s.position, s.counted
)
update lease l
set owner = %(owner)s, epoch = raised.epoch, expires_at = clock_timestamp() + %(ttl_s)s * interval '1 second',
    taken_at = clock_timestamp(), wanted_by = null, behind_ms = null, progress_at = null
from raised where l.stream = %(stream)s and l.unit = raised.shard
returning l.unit, l.epoch, raised.position, raised.counted;

-- name: renew
with raised as (
    update shard s set epoch = s.epoch + 1
    where s.stream = %(stream)s and s.shard = %(unit)s and s.epoch >= %(epoch)s and not s.ended
        and exists (
            select from lease l where l.stream = s.stream and l.unit = s.shard and l.owner = %(owner)s
                and l.epoch = s.epoch
        )
    returning s.shard, s.epoch, s.position, s.counted
)
update lease l set epoch = raised.epoch
from raised where l.stream = %(stream)s and l.unit = raised.shard and l.owner = %(owner)s
returning l.unit, l.epoch, raised.position, raised.counted;

-- name: want
-- Units that are asked for already count as the asker's. A lane is asked for by the greater difference.
with held as (
    select l.unit, s.lane is not null and s.lane = 'critical' as critical, coalesce(l.wanted_by, l.owner) as holder
    from lease l join shard s on s.stream = l.stream and s.shard = l.unit
    where l.stream = %(stream)s and l.owner is not null and l.expires_at > clock_timestamp() and not s.ended
), load as (
    select holder, count(*) as units, count(*) filter (where critical) as critical from held group by holder
), mine as (
    select coalesce(sum(units), 0) as units, coalesce(sum(critical), 0) as critical
    from load where holder = %(owner)s
), chosen as (
    select l.unit
    from lease l
    join held using (unit)
    join load on load.holder = l.owner
    cross join mine
    cross join lateral (select load.units > greatest(%(share)s, mine.units + 1) as it) too_many
    where l.stream = %(stream)s and l.wanted_by is null and l.owner <> %(owner)s
        and l.unit <> all(%(avoid)s::text[])
        and (too_many.it or (held.critical and load.critical > mine.critical + 1))
    order by
        too_many.it desc, load.units desc, l.owner,
        case when held.critical then load.critical - mine.critical
             else load.units - load.critical - mine.units + mine.critical end desc,
        held.critical desc, l.unit
    limit 1
    for update of l skip locked
)
update lease l set wanted_by = %(owner)s
from chosen where l.stream = %(stream)s and l.unit = chosen.unit
returning l.unit;

-- name: release
update lease set owner = null, expires_at = clock_timestamp()
where stream = %(stream)s and unit = %(unit)s and owner = %(owner)s and epoch >= %(epoch)s;

-- name: end
with done as (
    update shard s set ended = true
    where s.stream = %(stream)s and s.shard = %(unit)s and s.epoch = %(epoch)s and s.position = %(position)s
    returning s.shard
)
update lease l set owner = null, expires_at = clock_timestamp(), wanted_by = null, behind_ms = null
from done where l.stream = %(stream)s and l.unit = done.shard
returning l.unit;

-- name: leave
with unasked as (
    update lease set wanted_by = null where stream = %(stream)s and wanted_by = %(owner)s
)
delete from worker where stream = %(stream)s and owner = %(owner)s;

-- name: declare
insert into stream_terms as t (stream, retention_s, lease_s, stuck_s)
values (%(stream)s, %(retention_s)s, %(lease_s)s, %(stuck_s)s)
on conflict (stream) do update
set retention_s = excluded.retention_s, lease_s = excluded.lease_s, stuck_s = excluded.stuck_s,
    told_at = excluded.told_at;

-- name: terms
select retention_s, lease_s, stuck_s from stream_terms where stream = %(stream)s;

-- name: states
select l.unit, s.lane, lower(s.slices), upper(s.slices), s.parents, l.owner, s.epoch, s.position, l.behind_ms,
       case when l.owner is not null then extract(epoch from l.expires_at - clock_timestamp())::float8 end,
       l.wanted_by, s.ended, s.lost
from lease l join shard s on s.stream = l.stream and s.shard = l.unit
where l.stream = %(stream)s
order by s.lane is not null and s.lane = 'critical' desc, l.unit;
