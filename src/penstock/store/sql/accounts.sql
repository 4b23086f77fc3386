-- The books: what each shard committed, what became of a tag's readings, and where single ones went.

-- name: shards
-- What waits behind a lease that ran out grows older, though nobody is there to say so.
select s.stream, s.shard, s.epoch, s.owner, l.unit is null or l.owner is not null and l.expires_at > clock_timestamp(),
       s.position, s.counted, s.lane, lower(s.slices), upper(s.slices), s.parents, s.ended,
       case when isfinite(l.expires_at) then
           (l.behind_ms + greatest(0, 1000 * extract(epoch from clock_timestamp() - l.expires_at)))::bigint
       end,
       s.stored, s.duplicate, s.conflict, s.quarantined, s.late, s.moved
from shard s left join lease l on l.stream = s.stream and l.unit = s.shard
order by s.stream, s.shard;

-- name: tag_flushes
select flush_id from flush where received_at >= %(start)s and received_at < %(end)s;

-- name: tag_exceptions
select (select coalesce(sum(cardinality(array_positions(r.tag_id, %(tag_id)s))), 0)
        from repeat r left join flush f using (flush_id)
        where %(start)s::timestamptz is null or f.received_at >= %(start)s and f.received_at < %(end)s)::bigint,
       (select count(*) from conflict c left join flush f using (flush_id)
        where c.tag_id = %(tag_id)s
          and (%(start)s::timestamptz is null or f.received_at >= %(start)s and f.received_at < %(end)s)),
       (select count(*) from quarantine q left join flush f using (flush_id)
        where q.path = %(path)s
          and (%(start)s::timestamptz is null or f.received_at >= %(start)s and f.received_at < %(end)s));

-- name: tag_stored
-- With those that have left for the archive: what was stored stays stored.
select (select coalesce(sum(n), 0) from segment where tag_id = %(tag_id)s)::bigint
     + coalesce((select readings from forgotten where tag_id = %(tag_id)s), 0)
     + (select coalesce(sum(cardinality(array_positions(tag, %(tag_id)s))), 0)
        from hot where grp = ((%(tag_id)s - 1) / 100)::smallint)::bigint;

-- name: committing_flush
select flush_id, committed_at
from flush
where stream = %(stream)s and shard = %(shard)s and position_hi >= %(position)s and position_lo < %(position)s
order by position_hi
limit 1;

-- name: request_flushes
select f.flush_id, f.committed_at, f.shard, f.position_lo, f.position_hi, coalesce(f.repeated, '{}'), f.moved
from flush_request r join flush f using (flush_id)
where r.stream = %(stream)s and r.producer = %(producer)s
  and int8range(r.lo, r.hi, '[]') @> %(request)s::bigint
order by flush_id;

-- name: exceptions
select r.position, r.index, 'duplicate', r.tag_id, null::bigint, null::text
from (select unnest(position) position, unnest(index) index, unnest(tag_id) tag_id
      from repeat where flush_id = %(flush_id)s) r
where r.position = any(%(positions)s::numeric[])
union all
select position, index, 'conflict', tag_id, conflict_id, null
from conflict where flush_id = %(flush_id)s and position = any(%(positions)s::numeric[])
union all
select position, index, 'quarantined', null, quarantine_id, path
from quarantine where flush_id = %(flush_id)s and position = any(%(positions)s::numeric[]);

-- name: tag_paths
select tag_id, path from tag where tag_id = any(%(tag_ids)s);
