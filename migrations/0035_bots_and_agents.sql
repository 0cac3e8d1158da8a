-- Bots that admins end, and agents without an application.
set local lock_timeout = '3s';
set local statement_timeout = '5s';

-- A deleted bot is also disabled, so the previous release refuses its messages, too.
alter table biz.bots add column deleted_at timestamptz;
comment on column biz.bots.deleted_at is
    'Time of deletion; the row and its conversations remain';

-- For the previous release, such an agent is an application without an id: a call of it fails.
-- squawk-ignore ban-drop-not-null
alter table biz.agents alter column app_id drop not null;
comment on column biz.agents.app_id is
    'Application id in the DashScope console; null: bots with this agent do not reply';
