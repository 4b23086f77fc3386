-- name: stored
select coalesce((select sum(n) from segment join tag using (tag_id) where starts_with(path, %(prefix)s)), 0)
    + (select count(*) from hot, unnest(hot.tag) each (tag_id) join tag using (tag_id) where starts_with(path, %(prefix)s))

-- name: latency_ms
select extract(epoch from stored_at - ts) * 1000
from unnest(%(paths)s::text[]) wanted (path), readings_between(wanted.path, '-infinity', 'infinity')
