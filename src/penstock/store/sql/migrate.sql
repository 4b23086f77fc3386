-- name: make_table
create table if not exists migration (
    number     integer primary key,
    name       text not null,
    sha256     bytea not null,
    applied_at timestamptz not null default clock_timestamp()
);
do $$
begin
    if not exists (
        select from information_schema.columns
        where table_schema = current_schema and table_name = 'migration' and column_name = 'needs'
    ) then
        alter table migration add column needs integer;
        comment on column migration.needs is
            'Code goes on after this migration if it knows the one of that number; null: if it knows this one.';
    end if;
end
$$

-- name: lock
select pg_advisory_lock(8047)

-- name: applied
-- a database that an older version made, and only the doctor looks at, has no such column yet
select number, sha256, (to_jsonb(migration) ->> 'needs')::integer from migration order by number

-- name: record
insert into migration (number, name, sha256, needs) values (%s, %s, %s, %s)

-- name: exists
select to_regclass('public.migration') is not null

-- name: make_reader
do $$
begin
    if exists (select from pg_roles where rolname = 'penstock_reader') then
        return;  -- who may make no roles may still grant what is its own
    end if;
    create role penstock_reader nologin;
    comment on role penstock_reader is 'May read everything of penstock but keys, links and page sign-ins.';
exception
    when duplicate_object or unique_violation then null;
end
$$

-- name: grant_reader
grant usage on schema public to penstock_reader;
grant select on all tables in schema public to penstock_reader;
alter default privileges in schema public grant select on tables to penstock_reader

-- name: hide_from_reader
select format('revoke all on %%I.%%I from penstock_reader', schemaname, tablename)
from pg_tables
where schemaname = 'public' and tablename = any(%s)

-- name: make_login
do $$
begin
    create role {login} login in role penstock_reader connection limit 10;
exception
    when duplicate_object or unique_violation then null;
end
$$

-- name: set_login
alter role {login} password {password};
alter role {login} set default_transaction_read_only = on;
alter role {login} set statement_timeout = '60s'
