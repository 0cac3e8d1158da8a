-- The notice about the AI, and why a reply ended.

create table biz.ai_notices (
    site_id bigint constraint ai_notices_pkey primary key
        constraint ai_notices_site_id_fkey references biz.sites (id),
    models jsonb,
    provider text,
    agreement_url text,
    complaint_phone text,
    complaint_email text,
    complaint_url text,
    -- The path selects the valid models.
    constraint ai_notices_models_whole check (models = jsonb_path_query_array(models, '$[*] ? (
        @.type() == "object" && @.name.type() == "string" && @.name != ""
        && (!exists(@.filing_number) || @.filing_number.type() == "string"))')),
    constraint ai_notices_urls_absolute check (
        agreement_url ~ '^https?://[^[:space:]]+$' and complaint_url ~ '^https?://[^[:space:]]+$'),
    constraint ai_notices_email_whole check (complaint_email ~ '^[^@[:space:]]+@[^@[:space:]]+$')
);
comment on table biz.ai_notices is
    'What a site tells its users about the AI; null means the value of the deployment';
comment on column biz.ai_notices.models is
    'List of {"name", "filing_number"}; the number is optional';

alter table biz.ai_messages add column is_cut boolean;
comment on column biz.ai_messages.is_cut is
    'True if the reply ended at the length limit of its model; null if it did not end by itself, '
    'and in older rows';
comment on column biz.ai_messages.reference_card is
    'The insight that the prompt of the reply contained: {type, title, summary, data}';
