insert into biz.bots (id, site_id, name, display_name, avatar, status, agent_id)
select b.id, b.site_id, b.name, b.display_name, b.avatar, b.status, b.agent_id
from jsonb_to_recordset($1) as b (
    id uuid, site_id bigint, name text, display_name text, avatar text, status text, agent_id uuid)
on conflict on constraint bots_pkey do nothing
