-- The apps are the rows of a table, so that a new app is one row (docs/decisions/0026).
set local lock_timeout = '3s';
set local statement_timeout = '5s';

create table biz.app_types (
    name text constraint app_types_pkey primary key,
    comment text not null
);
comment on table biz.app_types is
    'The apps: values of app_type and cache_type. Parlor''s code has the same list';
comment on column biz.app_types.comment is 'What the app makes';

insert into biz.app_types (name, comment) values
    ('app1_chat', 'Replies in conversations and of bots'),
    ('app2_finance', 'Finance of a site or of one of its areas'),
    ('app2a_finance_area', 'Comparison of the areas of a site'),
    ('app3_clue', 'Clues about a member, from consumption'),
    ('app4_analysis', 'What a coach should do about a member'),
    ('app5_tactics', 'What a coach may say to a member'),
    ('app6_note_analysis', 'Clues about a member, from a note'),
    ('app7_customer_analysis', 'How to retain a member'),
    ('app8_clue_consolidated', 'All clues about a member, as one list');

-- Runs have no foreign key to the table. Each message writes a run, and would lock the chat's row.
-- `not valid` avoids reading the run log and the results here. 0029 checks the old rows.
-- squawk-ignore ban-drop-constraint
alter domain biz.app_type drop constraint app_type_known;
-- squawk-ignore ban-alter-domain-with-add-constraint
alter domain biz.app_type add constraint app_type_named check (value like 'app%') not valid;
comment on domain biz.app_type is 'Name of an app in app_types';

alter table biz.ai_apps
    add constraint ai_apps_app_type_fkey
        foreign key (app_type) references biz.app_types (name) not valid;
-- A stored result is a rare write after a call of seconds, so it can afford the foreign key.
-- squawk-ignore ban-drop-constraint
alter table biz.ai_cache drop constraint ai_cache_type_known;
alter table biz.ai_cache
    add constraint ai_cache_cache_type_fkey
        foreign key (cache_type) references biz.app_types (name) not valid;
