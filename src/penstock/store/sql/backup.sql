-- name: stand_still
set local lock_timeout = '30s';
lock table shard in share mode

-- name: begin_snapshot
begin isolation level repeatable read read only

-- name: export_snapshot
select pg_export_snapshot()

-- name: checkpoints
-- Only local streams have their log in the backup: their positions are small.
select s.stream, s.shard, s.position::bigint, s.counted
from shard s
where not exists (select from lease l where l.stream = s.stream and l.unit = s.shard)
order by s.stream, s.shard
