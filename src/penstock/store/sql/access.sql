-- name: add
insert into api_key (key_id, name, sha256, role, sites, rate, burst, created_at, created_by)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: keys
select key_id, name, sha256, role, sites, rate, burst, created_at, created_by, revoked_at, revoked_by
from api_key
order by created_at, key_id

-- name: key
select key_id, name, sha256, role, sites, rate, burst, created_at, created_by, revoked_at, revoked_by
from api_key
where key_id = %s and revoked_at is null

-- name: revoke
update api_key
set revoked_at = coalesce(revoked_at, clock_timestamp()), revoked_by = coalesce(revoked_by, %s)
where key_id = %s

-- name: add_link
with swept as (delete from login_link where expires_at < clock_timestamp() - interval '1 day')
insert into login_link (sha256, key_id, expires_at)
values (%s, %s, clock_timestamp() + make_interval(secs => %s))

-- name: use_link
with used as (
    update login_link
    set used_at = clock_timestamp()
    where sha256 = %s and used_at is null and expires_at > clock_timestamp()
    returning key_id
)
select key_id, name, sha256, role, sites, rate, burst, created_at, created_by, revoked_at, revoked_by
from api_key join used using (key_id)
where revoked_at is null

-- name: add_session
with swept as (delete from session where expires_at < clock_timestamp())
insert into session (sha256, key_id, expires_at)
values (%s, %s, clock_timestamp() + make_interval(secs => %s))

-- name: session
select k.key_id, k.name, k.sha256, k.role, k.sites, k.rate, k.burst, k.created_at, k.created_by, k.revoked_at, k.revoked_by
from session s join api_key k using (key_id)
where s.sha256 = %s and s.expires_at > clock_timestamp() and k.revoked_at is null

-- name: end_session
delete from session where sha256 = %s
