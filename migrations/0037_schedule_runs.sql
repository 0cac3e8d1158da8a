-- When each schedule last ran. Servers outside Lambda have no scheduler, so each instance looks
-- here whether a run is due.
set local lock_timeout = '3s';
set local statement_timeout = '60s';

create table biz.schedule_runs (
    name text constraint schedule_runs_pkey primary key,
    due_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp()
);
comment on table biz.schedule_runs is
    'The last run of each schedule of the servers; not used on Lambda';
comment on column biz.schedule_runs.name is 'sweep, notify or prewarm';
comment on column biz.schedule_runs.due_at is 'Time for which the last run was due';
