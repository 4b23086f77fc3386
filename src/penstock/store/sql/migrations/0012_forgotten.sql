-- needs: 11
-- What left the database because the archive holds it: from when on each tag's readings are still all here.

create table forgotten (
    tag_id   integer primary key,
    before   timestamptz not null,
    readings bigint not null default 0 check (readings >= 0)
) with (fillfactor = 50);
comment on table forgotten is 'Tags of which sealed readings were deleted, since the archive holds them. No row: all are here.';
comment on column forgotten.before is
    'Readings with an earlier ts may be in the archive alone. Written down before anything is deleted; it never goes back.';
comment on column forgotten.readings is 'How many were deleted so far; counted in the transactions that delete.';
