-- name: load
select positions, state from detector_snapshot where stream = %(stream)s and unit = %(unit)s

-- name: save
insert into detector_snapshot (stream, unit, positions, state)
select %(stream)s, %(unit)s, %(positions)s, %(state)s
where not exists (
    select from shard
    where stream = %(stream)s and epoch > (%(epochs)s::jsonb ->> shard)::bigint
)
on conflict (stream, unit) do update
set positions = excluded.positions, state = excluded.state, taken_at = clock_timestamp()

-- name: committed
select position_hi, readings, repeated from flush
where
    stream = %(stream)s and shard = %(shard)s
    and position_lo < position_hi and position_hi > %(lo)s and position_lo < %(hi)s
order by position_hi

-- name: unstored
with flushes as (
    select flush_id from flush
    where stream = %(stream)s and shard = %(shard)s and position_hi > %(lo)s and position_lo < %(hi)s
)
select position, index from conflict join flushes using (flush_id)
union all
select position, index from quarantine join flushes using (flush_id)
union all
select each.position, each.index
from repeat join flushes using (flush_id), unnest(repeat.position, repeat.index) each (position, index)
