-- name: stand_still
set local lock_timeout = '30s';
lock table shard in share mode

-- name: begin_snapshot
begin isolation level repeatable read read only

-- name: export_snapshot
select pg_export_snapshot()

-- name: checkpoints
select stream, shard, position, counted from shard order by stream, shard
