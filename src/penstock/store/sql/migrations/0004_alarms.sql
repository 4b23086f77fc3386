-- What detectors found, and what people made of it (ISA-18.2 life cycle).

create table alarm (
    alarm_id        bigint generated always as identity primary key,
    tag_id          integer not null references tag,
    test            text not null,
    priority        text not null check (priority in ('critical', 'high', 'medium', 'low')),
    state           text not null
        check (state in ('unacknowledged', 'acknowledged', 'returned', 'shelved', 'suppressed', 'closed')),
    active          boolean not null,
    raised_at       timestamptz not null,
    detected_at     timestamptz not null default clock_timestamp(),
    returned_at     timestamptz,
    closed_at       timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    note            text,
    shelved_until   timestamptz,
    shelved_by      text,
    shelve_reason   text,
    occurrences     integer not null default 1,
    value           double precision,
    score           double precision not null,
    low             double precision,
    high            double precision,
    because         text not null
);
create unique index alarm_open on alarm (tag_id, test) where closed_at is null;
create index alarm_raised on alarm (raised_at);

create table anomaly (
    anomaly_id  bigint generated always as identity primary key,
    alarm_id    bigint references alarm,
    tag_id      integer not null references tag,
    flush_id    bigint,
    ts          timestamptz not null,
    detected_at timestamptz not null default clock_timestamp(),
    test        text not null,
    active      boolean not null,
    priority    text not null,
    value       double precision,
    score       double precision not null,
    low         double precision,
    high        double precision,
    because     text not null
);
comment on table anomaly is 'Every edge a detector found: active when a test began to hold, not active when it returned to normal.';
create index anomaly_tag on anomaly (tag_id, ts);
create index anomaly_ts on anomaly (ts);

create table alarm_event (
    event_no bigint generated always as identity primary key,
    alarm_id bigint not null references alarm,
    at       timestamptz not null default clock_timestamp(),
    event    text not null,
    who      text not null,
    state    text not null,
    note     text
);
comment on column alarm_event.event_no is 'Grows in the order of commits (writers take a lock), so that a live feed can follow it.';
comment on column alarm_event.who is 'The name of the key or person; `penstock` for what the detectors did.';
create index alarm_event_alarm on alarm_event (alarm_id, at);
