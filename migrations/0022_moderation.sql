-- Moderation of chats: blocked words, verdicts of moderation services, and what WeChat needs.
set local lock_timeout = '3s';

create table biz.moderation_words (
    id bigint generated always as identity constraint moderation_words_pkey primary key,
    site_id bigint constraint moderation_words_site_id_fkey references biz.sites (id),
    word text not null,
    normal text not null,
    created_by bigint not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint moderation_words_normal_key unique nulls not distinct (normal, site_id),
    constraint moderation_words_normal_length check (char_length(normal) between 1 and 64)
);
-- 0 stands for the list of all sites, because `is not distinct from` uses no index.
create index moderation_words_list_idx
    on biz.moderation_words (coalesce(site_id, 0), created_at desc, id desc);
comment on table biz.moderation_words is
    'Words that block a message or a reply that contains them';
comment on column biz.moderation_words.site_id is 'Null: in force at all sites';
comment on column biz.moderation_words.normal is
    'The word as texts are compared: NFKC, folded case, no spaces and no punctuation';
comment on column biz.moderation_words.created_by is
    'The admin; not a foreign key, because the row must outlive its user';

create table biz.wechat_tokens (
    app_id text constraint wechat_tokens_pkey primary key,
    access_token text,
    expires_at timestamptz,
    fetching_until timestamptz not null
);
comment on table biz.wechat_tokens is
    'Access tokens of the WeChat API, shared by all function instances';
comment on column biz.wechat_tokens.expires_at is 'A minute before WeChat rejects the token';
comment on column biz.wechat_tokens.fetching_until is
    'Until then, one instance fetches a token, and the others wait for it';

alter table biz.users add column openid text;
comment on column biz.users.openid is
    'Id of the user in the mini-program, for the moderation by WeChat; null: not checked there';

alter table biz.ai_messages add column moderation jsonb;
comment on column biz.ai_messages.moderation is
    'Verdicts of moderation, without texts: a list of service, result, labels and traceId; null: '
    'not checked';

-- The list of all sites belongs to no site.
-- The releases before this one do not read rows without a site: they list by site.
-- squawk-ignore ban-drop-not-null
alter table biz.ai_admin_audit alter column site_id drop not null;
comment on column biz.ai_admin_audit.site_id is 'Null: a change for all sites';
