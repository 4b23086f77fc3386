-- The books: what each shard committed, what each received minute became, and where single readings went.

-- name: shards
select stream, shard, epoch, owner, position, counted, stored, duplicate, conflict, quarantined, late
from shard order by stream, shard;

-- name: minutes
select coalesce(sum(stored), 0)::bigint, coalesce(sum(duplicate), 0)::bigint, coalesce(sum(conflict), 0)::bigint,
       coalesce(sum(quarantined), 0)::bigint, coalesce(sum(late), 0)::bigint
from balance_minute
where received_minute >= %(start)s and received_minute < %(end)s;

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
select (select coalesce(sum(n), 0) from segment where tag_id = %(tag_id)s)::bigint
     + (select coalesce(sum(cardinality(array_positions(tag, %(tag_id)s))), 0)
        from hot where grp = ((%(tag_id)s - 1) / 100)::smallint)::bigint;

-- name: committing_flush
select flush_id, committed_at
from flush
where stream = %(stream)s and shard = %(shard)s and position_hi >= %(position)s and position_lo < %(position)s
order by position_hi
limit 1;

-- name: fates
select r.index, 'duplicate', r.tag_id, null::bigint, null::text
from (select unnest(position) position, unnest(index) index, unnest(tag_id) tag_id
      from repeat where flush_id = %(flush_id)s) r
where r.position = %(position)s
union all
select index, 'conflict', tag_id, conflict_id, null
from conflict where flush_id = %(flush_id)s and position = %(position)s
union all
select index, 'quarantined', null, quarantine_id, path
from quarantine where flush_id = %(flush_id)s and position = %(position)s;

-- name: tag_paths
select tag_id, path from tag where tag_id = any(%(tag_ids)s);
