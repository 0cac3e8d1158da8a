create type cancelled_batch as (
    status text,
    cancelled bigint
);

comment on type cancelled_batch is 'How it stands now, and how many of its jobs are cancelled; nulls where there is none';
