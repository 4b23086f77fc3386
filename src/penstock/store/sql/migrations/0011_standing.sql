-- needs: 10
-- How a shared stream stands: what its workers go by, and when each unit became known and was taken.

create table stream_terms (
    stream      text primary key,
    retention_s double precision not null check (retention_s > 0),
    lease_s     double precision not null check (lease_s > 0),
    stuck_s     double precision not null check (stuck_s > 0),
    told_at     timestamptz not null default clock_timestamp()
);
comment on table stream_terms is
    'What the worker that began last goes by: it stays when all workers are gone, for then it is needed most.';
comment on column stream_terms.retention_s is 'How long the stream keeps entries.';

alter table lease add column met_at timestamptz, add column taken_at timestamptz;
comment on column lease.met_at is 'When the unit became known; null of those from before this column.';
comment on column lease.taken_at is 'When its owner, or the last that it had, took it.';
