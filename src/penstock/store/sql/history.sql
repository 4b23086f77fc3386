-- The worker's side of history: leases, flushes and what a flush puts beside its readings.

-- name: connect
-- Every statement of a flush goes by key; a plan by scanning would only come from stale statistics.
-- A worker that hangs in its transaction must not keep the shard's next holder waiting.
set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set jit = off;
set idle_in_transaction_session_timeout = '10s';

-- name: claim
insert into shard as s (stream, shard, epoch, owner)
select %(stream)s, name, 1, %(owner)s from unnest(%(shards)s::text[]) name order by name
on conflict (stream, shard) do update set epoch = s.epoch + 1, owner = excluded.owner
returning shard, epoch, position, counted;

-- name: counted
select producer, belt, seen from produced
where stream = %(stream)s and belt = any(%(belts)s::integer[]) and seen > 0;

-- name: tags
select r.version, t.tag_id, t.path, t.grp, t.holds, t.config, t.version
from registry r left join tag t on true
order by t.tag_id;

-- name: marks
select tag, ts from mark
union all
select tag, ts from hot;

-- name: state_texts
select text, state_id from state_text;

-- name: begin
select s.epoch, s.position, nextval('flush_id'), r.version
from shard s, registry r
where s.stream = %(stream)s and s.shard = %(shard)s
for update of s;

-- name: hold_lanes
-- While a flush lasts no tag changes its lane, and with it its owner: see `bar_lanes` in registry.sql.
select pg_advisory_xact_lock_shared(hashtextextended('penstock lanes', 0));

-- name: changed_tags
select tag_id, path, grp, holds, config, version from tag where version > %(since)s order by tag_id;

-- name: register
with missing as (
    select path, place from unnest(%(paths)s::text[]) with ordinality given(path, place)
    where not exists (select from tag where tag.path = given.path)
), bumped as (
    update registry set version = version + 1 where exists (select from missing) returning version
)
insert into tag (path, version)
select missing.path, bumped.version from missing, bumped order by missing.place
on conflict (path) do nothing;

-- name: registered
select t.tag_id, t.path, t.grp, t.holds, t.config, t.version
from unnest(%(paths)s::text[]) with ordinality given(path, place) join tag t using (path)
order by given.place;

-- name: register_states
insert into state_text (text)
select text from unnest(%(texts)s::text[]) with ordinality given(text, place)
where not exists (select from state_text known where known.text = given.text)
order by place
on conflict (text) do nothing;

-- name: registered_states
select s.state_id
from unnest(%(texts)s::text[]) with ordinality given(text, place) join state_text s using (text)
order by given.place;

-- name: fix_kind
with bumped as (update registry set version = version + 1 returning version)
update tag set holds = given.holds, version = bumped.version
from bumped, (
    select unnest(%(values)s::integer[]) as tag_id, 'value' as holds
    union all
    select unnest(%(states)s::integer[]), 'state'
) given
where tag.tag_id = given.tag_id and tag.holds is null;

-- name: compare
-- Packs answer by themselves, chunks come whole; in one statement, so that a seal meanwhile hides nothing. Nor does
-- what leaves for the archive: where its packs are not seen any more, `forgotten` is seen to say so.
with suspect as materialized (
    select i, tag_id, seq, 'epoch'::timestamptz + us * interval '1 microsecond' as ts
    from unnest(%(tag_id)s::integer[], %(ts)s::bigint[], %(seq)s::bigint[]) with ordinality given(tag_id, us, seq, i)
)
select q.i, coalesce(s.v[p], s.k[p] / ('{1,1e1,1e2,1e3,1e4,1e5,1e6}'::float8[])[s.d + 1], 'NaN') as value,
       coalesce(s.state[p], -1) as state, coalesce(s.q[p], 0) as quality,
       null::bigint as flush, null::integer[] as tag, null::timestamptz[] as ts, null::float8[] as v,
       null::bigint[] as q, null::bigint[] as seq, null::integer[] as states
from suspect q
join segment s on s.tag_id = q.tag_id and s.t0 <= q.ts and s.t0 > q.ts - interval '24 hours' and s.t1 >= q.ts
cross join lateral (select (extract(epoch from q.ts - s.t0) * 1000000)::bigint as us offset 0) since
cross join lateral unnest(array_positions(s.dt, (since.us / s.unit)::integer)) p
where since.us %% s.unit = 0 and coalesce(s.seq[p], '-9223372036854775808') = q.seq
union all
select q.i, null, null, null, null, null, null, null, null, null, null
from suspect q join forgotten f on f.tag_id = q.tag_id and q.ts < f.before
union all
select null, null, null, null, h.flush, h.tag, h.ts, h.v, h.q, h.seq, h.state
from unnest(%(grp)s::smallint[], %(lo)s::bigint[], %(hi)s::bigint[]) g(grp, lo, hi)
join hot h on h.grp = g.grp
    and h.ts_lo <= 'epoch'::timestamptz + g.hi * interval '1 microsecond'
    and h.ts_hi >= 'epoch'::timestamptz + g.lo * interval '1 microsecond';

-- name: keep_held
insert into quarantine (flush_id, position, index, path, ts, reason, detail, raw)
select %(flush_id)s, position, item, path, 'epoch'::timestamptz + us * interval '1 microsecond', reason, detail, raw
from unnest(%(position)s::numeric[], %(item)s::integer[], %(path)s::text[], %(ts_us)s::bigint[], %(reason)s::text[],
            %(detail)s::text[], %(raw)s::bytea[]) held(position, item, path, us, reason, detail, raw);

-- name: keep_contested
insert into conflict (flush_id, position, index, tag_id, ts, seq, value, state, quality)
select %(flush_id)s, position, item, tag_id, 'epoch'::timestamptz + us * interval '1 microsecond', seq, value, state,
       quality
from unnest(%(position)s::numeric[], %(item)s::integer[], %(tag_id)s::integer[], %(ts_us)s::bigint[], %(seq)s::bigint[],
            %(value)s::float8[], %(state)s::text[], %(quality)s::bigint[])
     contested(position, item, tag_id, us, seq, value, state, quality);

-- name: keep_repeats
insert into repeat (flush_id, position, index, tag_id)
values (%(flush_id)s, %(position)s::numeric[], %(index)s::integer[], %(tag_id)s::integer[]);

-- name: settle
with moved as (
    update shard
    set position = %(hi)s, counted = %(counted)s, stored = stored + %(stored)s, duplicate = duplicate + %(duplicate)s,
        conflict = conflict + %(conflict)s, quarantined = quarantined + %(quarantined)s, late = late + %(late)s,
        moved = moved + %(moved)s
    where stream = %(stream)s and shard = %(shard)s and epoch = %(epoch)s
    returning 1
), noted as (
    insert into flush (flush_id, stream, shard, position_lo, position_hi, received_at, committed_at, readings, stored,
                       duplicate, conflict, quarantined, late, moved, repeated)
    values (%(flush_id)s, %(stream)s, %(shard)s, %(lo)s, %(hi)s,
            'epoch'::timestamptz + %(received_us)s * interval '1 microsecond', clock_timestamp(), %(readings)s,
            %(stored)s, %(duplicate)s, %(conflict)s, %(quarantined)s, %(late)s, %(moved)s,
            %(repeated)s::numeric[])
), counted as (
    insert into balance_minute as b (stream, received_minute, stored, duplicate, conflict, quarantined, late, moved)
    select %(stream)s, 'epoch'::timestamptz + us * interval '1 microsecond', m.stored, m.duplicate, m.conflict,
           m.quarantined, m.late, m.moved
    from unnest(%(minutes)s::bigint[], %(by_stored)s::bigint[], %(by_duplicate)s::bigint[], %(by_conflict)s::bigint[],
                %(by_quarantined)s::bigint[], %(by_late)s::bigint[], %(by_moved)s::bigint[])
         m(us, stored, duplicate, conflict, quarantined, late, moved)
    order by us
    on conflict (received_minute, stream) do update
    set stored = b.stored + excluded.stored, duplicate = b.duplicate + excluded.duplicate,
        conflict = b.conflict + excluded.conflict, quarantined = b.quarantined + excluded.quarantined,
        late = b.late + excluded.late, moved = b.moved + excluded.moved
)
select count(*) from moved;

-- name: arrive
-- Foreign producers do not count: of them what was taken is added up.
with seen as (
    insert into produced as p (stream, producer, belt, seen)
    select %(stream)s, producer, belt, counted
    from unnest(%(producers)s::uuid[], %(belts)s::integer[], %(counted)s::bigint[]) given(producer, belt, counted)
    order by producer, belt
    on conflict (stream, producer, belt) do update
    set seen = case when p.producer = %(foreign)s then p.seen + excluded.seen else excluded.seen end
)
insert into produced_minute as p (stream, producer, received_minute, seen)
select %(stream)s, producer, 'epoch'::timestamptz + us * interval '1 microsecond', readings
from unnest(%(minute_producers)s::uuid[], %(minutes)s::bigint[], %(readings)s::bigint[]) given(producer, us, readings)
order by producer, us
on conflict (stream, producer, received_minute) do update set seen = p.seen + excluded.seen;

-- name: note_requests
insert into flush_request (stream, producer, lo, hi, flush_id)
select %(stream)s, producer, lo, hi, %(flush_id)s
from unnest(%(producers)s::uuid[], %(lo)s::bigint[], %(hi)s::bigint[]) given(producer, lo, hi);
