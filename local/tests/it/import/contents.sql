select 'conversations', count(*), coalesce(md5(string_agg(t::text, '' order by id)), '') from biz.ai_conversations t
union all select 'messages', count(*), coalesce(md5(string_agg(md5(t::text), '' order by id)), '') from biz.ai_messages t
union all select 'runs', count(*), coalesce(md5(string_agg(md5(t::text), '' order by id)), '') from biz.ai_run_logs t
union all select 'results', count(*), coalesce(md5(string_agg(t::text, '' order by id)), '') from biz.ai_cache t
union all select 'jobs', count(*), coalesce(md5(string_agg(t::text, '' order by id)), '') from biz.ai_trigger_jobs t
union all select 'users', count(*), coalesce(md5(string_agg(t::text, '' order by id)), '') from biz.users t
union all select 'bots', count(*), coalesce(md5(string_agg(t::text, '' order by id)), '') from biz.bots t
union all select 'agents', count(*), coalesce(md5(string_agg(t::text, '' order by id)), '') from biz.agents t
union all select 'apps', count(*), coalesce(md5(string_agg(t::text, '' order by site_id, day, app_type)), '') from biz.ai_usage_daily t
union all select 'days', count(*), coalesce(md5(string_agg(t::text, '' order by site_id, day)), '') from biz.ai_usage_days t
union all select 'details', count(*), coalesce(md5(string_agg(t::text, '' order by t::text)), '') from biz.ai_usage_details t
order by 1
