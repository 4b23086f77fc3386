-- Two logins that take turns, and the group that owns everything. May be run again and again; two at once are safe.
--
-- What a login makes belongs to the group, since it acts as the group from its first statement on (`set role`): either
-- may alter what the other made, and a migration under one name goes on under the other.

select pg_advisory_xact_lock(8047, 1);

do $$
declare
    login text;
begin
    if not exists (select from pg_roles where rolname = 'penstock_owner') then
        create role penstock_owner nologin;
        comment on role penstock_owner is 'Owns what penstock stores; penstock_a and penstock_b act as it.';
    end if;
    if not exists (select from pg_roles where rolname = 'penstock_reader') then
        create role penstock_reader nologin;
        comment on role penstock_reader is 'May read everything of penstock but keys, links and page sign-ins.';
    end if;
    foreach login in array array['penstock_a', 'penstock_b'] loop
        if not exists (select from pg_roles where rolname = login) then
            execute format('create role %I login', login);
        end if;
        if not pg_has_role(login, 'penstock_owner', 'member') then
            execute format('grant penstock_owner to %I', login);
        end if;
        if not exists (
            select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
            where r.rolname = login and s.setdatabase = 0 and 'role=penstock_owner' = any(s.setconfig)
        ) then
            execute format('alter role %I set role to penstock_owner', login);
        end if;
    end loop;
end
$$;

-- What was stored before there was a group becomes the group's; who stored it goes on as a member of it.
do $$
declare
    statement text;
begin
    if not has_schema_privilege('penstock_owner', 'public', 'create') then
        execute format('grant connect, temporary, create on database %I to penstock_owner', current_database());
        grant usage, create on schema public to penstock_owner;
    end if;
    for statement in
        select format(
            'alter %s %I.%I owner to penstock_owner',
            case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, n.nspname, c.relname
        )
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind in ('r', 'p', 'v', 'S')
          and pg_get_userbyid(c.relowner) = current_user and not exists (
              select from pg_depend d  -- a sequence goes with the column that owns it
              where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i') and c.relkind = 'S'
          )
        union all
        select format('alter routine %s owner to penstock_owner', p.oid::regprocedure)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'public' and pg_get_userbyid(p.proowner) = current_user
    loop
        if not pg_has_role('penstock_owner', 'usage') then
            execute format('grant penstock_owner to %I', current_user);
        end if;
        execute statement;
    end loop;
end
$$;
