-- name: open_alarms
select a.alarm_id, a.tag_id, a.test, a.priority, a.state, a.active, a.acknowledged_at is not null, a.occurrences
from alarm a
join (select distinct * from unnest(%(tag_id)s::int[], %(test)s::text[])) as k (tag_id, test)
  on a.tag_id = k.tag_id and a.test = k.test
where a.closed_at is null
order by a.alarm_id
for update of a

-- name: new_ids
select nextval(pg_get_serial_sequence('alarm', 'alarm_id')) from generate_series(1, %(count)s)

-- name: put_alarms
insert into alarm as a (alarm_id, tag_id, test, priority, state, active, raised_at, returned_at, closed_at,
                        occurrences, value, score, low, high, because)
overriding system value
select * from unnest(
    %(alarm_id)s::bigint[], %(tag_id)s::int[], %(test)s::text[], %(priority)s::text[], %(state)s::text[],
    %(active)s::bool[], %(raised_at)s::timestamptz[], %(returned_at)s::timestamptz[], %(closed_at)s::timestamptz[],
    %(occurrences)s::int[], %(value)s::float8[], %(score)s::float8[], %(low)s::float8[], %(high)s::float8[],
    %(because)s::text[])

-- name: move_alarms
update alarm a
set priority = m.priority, state = m.state, active = m.active, occurrences = m.occurrences,
    returned_at = coalesce(m.returned_at, case when m.active then null else a.returned_at end),
    closed_at = m.closed_at,
    acknowledged_at = case when m.acknowledged then a.acknowledged_at end,
    acknowledged_by = case when m.acknowledged then a.acknowledged_by end,
    value = case when m.raised then m.value else a.value end,
    score = case when m.raised then m.score else a.score end,
    low = case when m.raised then m.low else a.low end,
    high = case when m.raised then m.high else a.high end,
    because = case when m.raised then m.because else a.because end
from unnest(
    %(alarm_id)s::bigint[], %(priority)s::text[], %(state)s::text[], %(active)s::bool[], %(acknowledged)s::bool[],
    %(returned_at)s::timestamptz[], %(closed_at)s::timestamptz[], %(occurrences)s::int[], %(raised)s::bool[],
    %(value)s::float8[], %(score)s::float8[], %(low)s::float8[], %(high)s::float8[], %(because)s::text[])
  as m (alarm_id, priority, state, active, acknowledged, returned_at, closed_at, occurrences, raised,
        value, score, low, high, because)
where a.alarm_id = m.alarm_id

-- name: put_anomalies
insert into anomaly (alarm_id, tag_id, flush_id, ts, test, active, priority, value, score, low, high, because)
select alarm_id, tag_id, %(flush_id)s, ts, test, active, priority, value, score, low, high, because
from unnest(
    %(alarm_id)s::bigint[], %(tag_id)s::int[], %(ts)s::timestamptz[], %(test)s::text[], %(active)s::bool[],
    %(priority)s::text[], %(value)s::float8[], %(score)s::float8[], %(low)s::float8[], %(high)s::float8[],
    %(because)s::text[])
  as f (alarm_id, tag_id, ts, test, active, priority, value, score, low, high, because)

-- name: lock_events
select pg_advisory_xact_lock(hashtext('penstock alarm_event'))

-- name: put_events
insert into alarm_event (alarm_id, event, who, state, note)
select alarm_id, event, %(who)s, state, note
from unnest(%(alarm_id)s::bigint[], %(event)s::text[], %(state)s::text[], %(note)s::text[])
  as e (alarm_id, event, state, note)

-- name: lock_alarm
select a.alarm_id, a.tag_id, a.test, a.priority, a.state, a.active, a.acknowledged_at is not null, a.occurrences
from alarm a join tag t using (tag_id)
where a.alarm_id = %(alarm_id)s and ('*' = any(%(sites)s) or split_part(t.path, '/', 1) = any(%(sites)s))
for update of a

-- name: lock_expired
select a.alarm_id, a.tag_id, a.test, a.priority, a.state, a.active, a.acknowledged_at is not null, a.occurrences
from alarm a
where a.state = 'shelved' and a.shelved_until <= %(now)s
order by a.alarm_id
for update of a

-- name: judge_alarm
update alarm
set state = %(state)s,
    closed_at = case when %(state)s = 'closed' then clock_timestamp() end,
    acknowledged_at = case when %(acknowledged)s then coalesce(acknowledged_at, clock_timestamp()) end,
    acknowledged_by = case when %(acknowledged)s then coalesce(acknowledged_by, %(who)s) end,
    note = case when %(event)s = 'acknowledge' then %(note)s else note end,
    shelved_until = case when %(state)s = 'shelved' then %(until)s::timestamptz end,
    shelved_by = case when %(state)s = 'shelved' then %(who)s end,
    shelve_reason = case when %(state)s = 'shelved' then %(note)s end
where alarm_id = %(alarm_id)s

-- name: columns
select a.alarm_id, t.path as tag, t.config ->> 'unit' as unit, t.config ->> 'description' as description,
       a.test, a.priority, a.state, a.active, a.raised_at, a.detected_at, a.returned_at, a.closed_at,
       a.acknowledged_at, a.acknowledged_by, a.note, a.shelved_until, a.shelved_by, a.shelve_reason,
       a.occurrences, a.value, a.score, a.low, a.high, a.because
from alarm a join tag t using (tag_id)
where ('*' = any(%(sites)s) or split_part(t.path, '/', 1) = any(%(sites)s))

-- name: list_where
  and (%(state)s::text is null or a.state = %(state)s)
  and (%(tag)s::text is null or t.path = %(tag)s)
  and (%(asset)s::text is null or starts_with(t.path, %(asset)s || '/'))
  and (%(before)s::bigint is null or a.alarm_id < %(before)s)
order by a.alarm_id desc
limit %(limit)s

-- name: get_where
  and a.alarm_id = %(alarm_id)s

-- name: anomalies
select n.anomaly_id, t.path as tag, n.alarm_id, n.ts, n.detected_at, n.test, n.active, n.priority,
       n.value, n.score, n.low, n.high, n.because
from anomaly n join tag t using (tag_id)
where ('*' = any(%(sites)s) or split_part(t.path, '/', 1) = any(%(sites)s))
  and (%(tag)s::text is null or t.path = %(tag)s)
  and (%(start)s::timestamptz is null or n.ts >= %(start)s)
  and (%(end)s::timestamptz is null or n.ts < %(end)s)
  and n.anomaly_id > %(after)s
order by n.anomaly_id
limit %(limit)s

-- name: events
select event_no, at, event, who, state, note from alarm_event where alarm_id = %(alarm_id)s order by event_no

-- name: newest_event
select coalesce(max(event_no), 0) from alarm_event

-- name: changed
select e.event_no, e.event, a.*
from (select event_no, alarm_id, event from alarm_event where event_no > %(after)s order by event_no limit %(limit)s) e
join ({columns}) a using (alarm_id)
order by e.event_no
