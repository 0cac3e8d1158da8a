-- Checks the old rows against the pattern and the table of 0021.
set local lock_timeout = '3s';
set local statement_timeout = '60s';
alter domain biz.app_type validate constraint app_type_named;
alter table biz.ai_apps validate constraint ai_apps_app_type_fkey;
alter table biz.ai_cache validate constraint ai_cache_cache_type_fkey;
