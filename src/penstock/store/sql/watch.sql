-- name: positions
select shard, position from shard where stream = %(stream)s

-- name: read_only
show transaction_read_only

-- name: version
select version from registry

-- name: critical
select path from tag where config ->> 'criticality' = 'critical'
