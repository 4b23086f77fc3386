-- Who may come in. Only hashes are kept.

create table api_key (
    key_id     text primary key,
    name       text not null,
    sha256     bytea not null unique check (length(sha256) = 32),
    role       text not null check (role in ('writer', 'viewer', 'operator', 'auditor', 'admin')),
    sites      text[] not null,
    rate       double precision check (rate >= 0),
    burst      double precision check (burst >= 0),
    created_at timestamptz not null default clock_timestamp(),
    created_by text not null,
    revoked_at timestamptz,
    revoked_by text
);
comment on column api_key.sites is '{*} is all sites.';
comment on column api_key.rate is 'Requests a second; 0 is no limit, null is as the settings say.';

create table login_link (
    sha256     bytea primary key,
    key_id     text not null references api_key,
    expires_at timestamptz not null,
    used_at    timestamptz
);

create table session (
    sha256     bytea primary key,
    key_id     text not null references api_key,
    expires_at timestamptz not null
);
create index session_expires_at on session (expires_at);
