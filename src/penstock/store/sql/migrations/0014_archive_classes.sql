-- needs: 12
-- Archived readings of two classes: critical ones, and others whose files are kept for a shorter time.

alter table archive_day add column critical integer[];
comment on column archive_day.critical is
    'Tags that were critical when its archiving began, so that whoever repeats it makes the same files; null: one class.';

alter table archive_segment add column standard_until timestamptz;
comment on column archive_segment.standard_until is
    'Its files of tags that were not critical need not be there any longer; null where there are none of their own.';

alter table archive_segment add column kept_until timestamptz;
comment on column archive_segment.kept_until is
    'Neither its manifest nor its other files need be there any longer, locked or not; null: as locked_until.';

alter table archive_object add column class text;
comment on column archive_object.class is 'What all of its tags were then: critical, or standard; null: not told apart.';

create table archive_standard (
    tag_id    integer primary key,
    first_day date not null,
    last_day  date not null,
    check (first_day <= last_day)
) with (fillfactor = 50);
comment on table archive_standard is
    'Tags that were archived in files of class standard, and the first and last day of which. No row: never.';

create view history_floor as
select f.tag_id, f.before,
       case when e.day is not null then least(f.before, (e.day + 1)::timestamp at time zone 'UTC') end as expired_before
from forgotten f
left join archive_standard a using (tag_id)
cross join lateral (
    select greatest(
        (select max(day) from archive_segment where coalesce(kept_until, locked_until) <= now()),
        (
            select s.day from archive_segment s
            where s.day between a.first_day and a.last_day and s.standard_until <= now()
            order by s.day desc
            limit 1
        )
    ) as day
) e;
comment on view history_floor is
    'By tag: readings with a ts before "before" may be in the archive alone, those before "expired_before" in nothing.';

create function tags_leaving(standard interval, critical interval)
returns table (tag_id integer, until timestamptz, newest timestamptz, standard_from date, standard_to date)
language sql stable
begin atomic
    select w.tag_id,
           date_trunc('day', now() - greatest(
               w.kept, coalesce((w.config->>'window_days')::float8, 0) * interval '1 day' + interval '2 days'
           ), 'UTC'),
           n.ts, coalesce(a.first_day, 'infinity'), coalesce(a.last_day, '-infinity')
    from (
        select t.tag_id, t.config,
               case when t.config->>'criticality' = 'critical' then critical else standard end as kept
        from tag t
    ) w
    join (select u.tag_id, u.ts from mark m cross join lateral unnest(m.tag, m.ts) u(tag_id, ts)) n using (tag_id)
    left join archive_standard a using (tag_id)
    where w.kept is not null;
end;
comment on function tags_leaving is
    'Tags whose readings may leave the database by age: of before when; the newest reading of each, whose pack stays; and '
    'between which days it was archived as standard. A tag is kept for as long as its class is now, and beyond what may '
    'still come late to it.';
