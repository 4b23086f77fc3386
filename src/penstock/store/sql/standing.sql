-- How streams stand. Time is this database's alone.

-- name: streams
-- The one of which anything was heard last comes first; streams of before were made anew or left. Of local ones only
-- commits are heard.
with heard as (
    select stream, seen_at as at, true as shared from worker
    union all select stream, alive_at, true from producer
    union all select stream, expires_at, true from lease
    union all select stream, told_at, true from stream_terms
    union all
    select s.stream, f.committed_at, false
    from shard s
    cross join lateral (
        select committed_at from flush
        where stream = s.stream and shard = s.shard
        order by position_hi desc
        limit 1
    ) f
)
select stream, bool_or(shared) from heard group by stream order by max(at) desc, stream;

-- name: stream
select clock_timestamp(), t.retention_s, coalesce(t.lease_s, %(lease_s)s), coalesce(t.stuck_s, %(stuck_s)s),
       coalesce(w.alive, 0), greatest(w.seen_at, w.worked_at),
       (select coalesce(sum(in_flight), 0) from produced_sum where stream = %(stream)s)::bigint
from (select %(stream)s::text as stream) it
left join stream_terms t using (stream)
cross join lateral (
    select count(*) filter (
               where seen_at > clock_timestamp() - 2 * coalesce(t.lease_s, %(lease_s)s) * interval '1 second'
           ) as alive,
           max(seen_at) as seen_at,
           (select max(l.expires_at) from lease l where l.stream = it.stream and l.owner is null and isfinite(l.expires_at)) as worked_at
    from worker w where w.stream = it.stream
) w;

-- name: shards
-- What waits behind a lease that ran out grows older, though nobody is there to say so. Nobody can take a unit
-- before its parents are worked to their end. The last that named a lost unit did so when it still was there.
-- A holder gets on even when there is nothing to do: it looks. One that has only just come is given some time.
select s.shard, s.ended, f.committed_at, b.behind_s,
       case when l.progress_at is not null then greatest(l.progress_at, f.committed_at)
            when b.behind_s > 0 and coalesce(l.taken_at < clock_timestamp() - %(lease_s)s * interval '1 second', true)
            then greatest(clock_timestamp() - b.behind_s * interval '1 second', f.committed_at)
       end,
       case when not s.ended and (l.owner is null or l.expires_at <= clock_timestamp()) and coalesce(p.ended, true) then
           greatest(l.met_at, case when isfinite(l.expires_at) then l.expires_at end, p.ended_at)
       end,
       case when s.lost then l.named_at end
from shard s
join lease l on l.stream = s.stream and l.unit = s.shard
cross join lateral (
    select case when not s.ended and isfinite(l.expires_at) then
               l.behind_ms + greatest(0, 1000 * extract(epoch from clock_timestamp() - l.expires_at))
           end::float8 / 1000 as behind_s
) b
left join lateral (
    select committed_at from flush
    where stream = s.stream and shard = s.shard
    order by position_hi desc
    limit 1
) f on true
left join lateral (
    select bool_and(ps.ended) as ended,
           max(pl.expires_at) filter (where isfinite(pl.expires_at)) as ended_at
    from shard ps left join lease pl on pl.stream = ps.stream and pl.unit = ps.shard
    where ps.stream = s.stream and ps.shard = any(s.parents)
) p on true
where s.stream = %(stream)s
order by s.shard;

-- name: commits
select s.shard, f.committed_at
from shard s
cross join lateral (
    select committed_at from flush
    where stream = s.stream and shard = s.shard
    order by position_hi desc
    limit 1
) f
where s.stream = %(stream)s;

-- name: now
select clock_timestamp();
