-- Accepted readings that were not stored: quarantine and conflicts, newest first.

-- name: quarantine
select quarantine_id, path, ts, reason, detail, raw, at, redriven_at, redriven_by, redriven_as
from quarantine
where quarantine_id < %(before)s
  and (%(path)s::text is null or path = %(path)s)
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(sites)s::text[] is null or split_part(path, '/', 1) = any(%(sites)s))
order by quarantine_id desc
limit %(limit)s;

-- name: hold_quarantined
select quarantine_id, path, ts, reason, detail, raw, at, redriven_at, redriven_by, redriven_as
from quarantine
where quarantine_id = %(quarantine_id)s
  and (%(sites)s::text[] is null or split_part(path, '/', 1) = any(%(sites)s))
for update;

-- name: redriven
update quarantine set redriven_at = clock_timestamp(), redriven_by = %(who)s, redriven_as = %(batch_id)s
where quarantine_id = %(quarantine_id)s;

-- name: conflicts
select c.conflict_id, t.path, c.ts, c.seq, c.value, c.state, c.quality, c.at
from conflict c join tag t using (tag_id)
where c.conflict_id < %(before)s
  and (%(path)s::text is null or t.path = %(path)s)
  and (%(sites)s::text[] is null or split_part(t.path, '/', 1) = any(%(sites)s))
order by c.conflict_id desc
limit %(limit)s;
