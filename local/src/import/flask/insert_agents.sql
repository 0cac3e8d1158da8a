-- Without app_id, bots with this agent do not reply until an admin sets it.
insert into biz.agents (id, name)
select a.id, a.name from jsonb_to_recordset($1) as a (id uuid, name text)
on conflict on constraint agents_pkey do nothing
