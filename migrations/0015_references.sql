-- The documents that a reply cites.

alter table biz.ai_messages add column doc_references jsonb;
comment on column biz.ai_messages.doc_references is
    'Documents that the reply cites: a list of {index, title, url, page}, sorted by index; null if '
    'it cites none';
