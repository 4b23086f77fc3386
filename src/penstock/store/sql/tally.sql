-- The books of streams that cannot count: what their producers put, what was seen of it, and what became of that.

-- name: produced
select coalesce(sum(received), 0)::bigint, coalesce(sum(in_flight), 0)::bigint from produced_sum;

-- name: whole
with put as (
    select coalesce(sum(received), 0) as received, coalesce(sum(in_flight), 0) as in_flight from produced_sum
)
select (received + coalesce(sum(counted), 0) - coalesce(sum(moved), 0))::bigint, in_flight::bigint,
       coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, coalesce(sum(conflict), 0)::bigint,
       coalesce(sum(quarantined), 0)::bigint, coalesce(sum(late), 0)::bigint, coalesce(sum(moved), 0)::bigint
from put left join shard on true
group by received, in_flight;

-- name: between
-- `counting` is the stream that counts by itself, if there is one: what it received is not in here. Of other local
-- streams of before no minutes are left but those of the fates.
-- What a producer has in flight are its newest minutes; what older ones still owe is lost.
with flying as (
    select stream, producer, sum(in_flight) as n from produced_sum where in_flight > 0 group by stream, producer
), owed as (
    select m.received_minute, m.put - m.seen as n, f.n - coalesce(sum(m.put - m.seen) over newer, 0) as room
    from flying f join produced_minute m using (stream, producer)
    where m.received_minute >= %(start)s and m.put > m.seen
    window newer as (
        partition by m.stream, m.producer order by m.received_minute desc
        rows between unbounded preceding and 1 preceding
    )
), fates as (
    select b.*, b.stream not in ('', %(counting)s) and not exists (select from produced p where p.stream = b.stream)
                or b.stream = '' and %(counting)s = '' as is_past
    from balance_minute b
    where received_minute >= %(start)s and received_minute < %(end)s
)
select (
           (select coalesce(sum(greatest(put, seen)), 0) from produced_minute
            where received_minute >= %(start)s and received_minute < %(end)s)
           + coalesce(sum(stored + duplicate + conflict + quarantined) filter (where is_past), 0)
           - coalesce(sum(moved), 0)
       )::bigint,
       (select coalesce(sum(greatest(0, least(n, room))), 0) from owed where received_minute < %(end)s)::bigint,
       coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, coalesce(sum(conflict), 0)::bigint,
       coalesce(sum(quarantined), 0)::bigint, coalesce(sum(late), 0)::bigint, coalesce(sum(moved), 0)::bigint
from fates;

-- name: belts
select belt, sum(in_flight)::bigint from produced_sum where stream = %(stream)s and in_flight > 0 group by belt;
