-- What producers say of themselves. A shared stream cannot count: each of them counts what it put.

-- name: publish
-- Absolute values: repeating changes nothing, and what comes late takes nothing back.
with alive as (
    insert into producer as p (stream, producer, alive_at)
    values (%(stream)s, %(producer)s, clock_timestamp())
    on conflict (stream, producer) do update set alive_at = excluded.alive_at
    where p.alive_at < excluded.alive_at - interval '10 seconds'
), belts as (
    insert into produced as p (stream, producer, belt, put, put_at)
    select %(stream)s, %(producer)s, belt, put, clock_timestamp()
    from unnest(%(belts)s::integer[], %(belts_put)s::bigint[]) given(belt, put)
    order by belt
    on conflict (stream, producer, belt) do update set put = excluded.put, put_at = excluded.put_at
    where p.put < excluded.put
)
insert into produced_minute as p (stream, producer, received_minute, put)
select %(stream)s, %(producer)s, 'epoch'::timestamptz + us * interval '1 microsecond', put
from unnest(%(minutes)s::bigint[], %(minutes_put)s::bigint[]) given(us, put)
order by us
on conflict (stream, producer, received_minute) do update set put = excluded.put
where p.put < excluded.put;

-- name: alive
select count(*) from producer where stream = %(stream)s and alive_at > clock_timestamp() - interval '30 seconds';

-- name: hold_fold
select pg_advisory_xact_lock(hashtextextended('penstock fold', 0));

-- name: fold_minutes
-- What is still owed stays as it is: it is in flight, or the proof of a loss.
with old as (
    delete from produced_minute
    where stream = %(stream)s and received_minute < clock_timestamp() - %(older_than)s and seen >= put
      and producer not in (%(past)s, %(foreign)s)
    returning received_minute, seen
)
insert into produced_minute as p (stream, producer, received_minute, put, seen)
select %(stream)s, %(past)s, received_minute, sum(seen), sum(seen) from old
group by received_minute order by received_minute
on conflict (stream, producer, received_minute) do update set put = p.put + excluded.put, seen = p.seen + excluded.seen;

-- name: fold_producers
-- A producer has ended when it neither said anything nor was seen for long.
with gone as (
    select producer from produced p
    where stream = %(stream)s and producer not in (%(past)s, %(foreign)s)
      and not exists (
          select from producer a
          where a.stream = p.stream and a.producer = p.producer and a.alive_at >= clock_timestamp() - %(older_than)s
      )
      and not exists (select from produced_minute m where m.stream = p.stream and m.producer = p.producer)
    group by producer
    having bool_and(seen >= put)
), forgotten as (
    delete from producer where stream = %(stream)s and producer in (select producer from gone)
), old as (
    delete from produced where stream = %(stream)s and producer in (select producer from gone) returning belt, seen
)
insert into produced as p (stream, producer, belt, put, seen)
select %(stream)s, %(past)s, belt, sum(seen), sum(seen) from old
group by belt order by belt
on conflict (stream, producer, belt) do update set put = p.put + excluded.put, seen = p.seen + excluded.seen;

-- name: forget_requests
-- What `trace` goes by is of use for as long as the stream may keep the entries.
delete from flush_request
where stream = %(stream)s and flush_id <= (
    select flush_id from flush
    where committed_at < clock_timestamp() - %(older_than)s
    order by committed_at desc
    limit 1
);
