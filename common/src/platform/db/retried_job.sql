create type retried_job as (
    outcome text,
    id bigint
);

comment on type retried_job is
    'retried, with the new job; else not_found, under_way, or answered: a message of a session is not answered twice';
