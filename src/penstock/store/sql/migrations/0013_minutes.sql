-- needs: 12
-- Rollups by the minute leave when they are old: from when on they are all here.

create table minutes_floor (
    one    boolean primary key default true check (one),
    before timestamptz not null check (extract(minute from before) = 0 and extract(second from before) = 0)
);
comment on table minutes_floor is 'One row once rollups by the minute have left; no row: all are here.';
comment on column minutes_floor.before is
    'Minutes of before are not complete: hours are. Written down before any of them is deleted; it never goes back.';
comment on table rollup_1m is
    'Sealed good and uncertain values by the minute, merged when sealed; what is still hot is added when read. Complete from minutes_floor.before on.';
