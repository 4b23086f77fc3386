-- What people see and set of tags. Byte order throughout, so that the index on path serves prefix and page alike.

-- name: list
select tag_id, path, grp, holds, config, version
from tag
where path ~>~ %(after)s and path like %(pattern)s
  and (%(sites)s::text[] is null or split_part(path, '/', 1) = any(%(sites)s))
order by path using ~<~
limit %(limit)s;

-- name: get
select tag_id, path, grp, holds, config, version from tag where path = %(path)s;

-- name: find
select tag_id, path, grp, holds, config, version from tag where path = any(%(paths)s) order by path using ~<~;

-- name: sites
select distinct split_part(path, '/', 1) from tag order by 1;

-- name: lock
select tag_id, path, grp, holds, config, version from tag where path = %(path)s for update;

-- name: bump
update registry set version = version + 1 returning version;

-- name: bar_lanes
-- Waits for the flushes under way, and keeps new ones waiting: see `hold_lanes` in history.sql.
select pg_advisory_xact_lock(hashtextextended('penstock lanes', 0));

-- name: set
update tag set config = %(config)s::jsonb, version = %(version)s where tag_id = %(tag_id)s;

-- name: note_change
insert into tag_change (tag_id, changed_by, before, after)
values (%(tag_id)s, %(who)s, %(before)s::jsonb, %(after)s::jsonb);

-- name: changes
select c.changed_at, c.tag_id, t.path, c.changed_by, c.before, c.after
from tag_change c join tag t using (tag_id)
where (%(path)s::text is null or t.path = %(path)s)
  and (%(sites)s::text[] is null or split_part(t.path, '/', 1) = any(%(sites)s))
  and (c.changed_at, c.tag_id) < (%(before)s, %(before_tag)s)
order by c.changed_at desc, c.tag_id desc
limit %(limit)s;
