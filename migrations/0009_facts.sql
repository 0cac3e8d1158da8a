-- Facts about a site's business. The operator's ETL provides these six relations of the schema
-- `dws`, as tables or views. Missing ones are created here as empty tables, so that every query
-- works from the first day. Existing ones are not changed.
create schema if not exists dws;

do $$
begin
    if to_regclass('dws.finance_area_daily') is null then
        create table dws.finance_area_daily (
            site_id bigint not null,
            business_date date not null,
            area text not null,
            revenue numeric(12, 2) not null default 0,
            orders integer not null default 0,
            table_minutes integer not null default 0,
            member_orders integer not null default 0,
            new_members integer not null default 0,
            recharged numeric(12, 2) not null default 0,
            constraint finance_area_daily_pkey primary key (site_id, business_date, area)
        );
        comment on table dws.finance_area_daily is
            'Revenue and counters of an area of a site on a business date, in yuan';
        comment on column dws.finance_area_daily.member_orders is
            'Orders of members; the other orders are walk-ins';
        comment on column dws.finance_area_daily.recharged is
            'Paid into stored-value cards; not part of the revenue';
    end if;
    if to_regclass('dws.member_profile') is null then
        create table dws.member_profile (
            site_id bigint not null,
            member_id bigint not null,
            name text not null,
            level text not null,
            joined_on date not null,
            birthday text,
            balance numeric(12, 2) not null default 0,
            coach_id bigint,
            favourite_area text,
            favourite_time text,
            constraint member_profile_pkey primary key (site_id, member_id)
        );
        comment on table dws.member_profile is 'Members of a site';
        comment on column dws.member_profile.birthday is 'MM-DD';
        comment on column dws.member_profile.balance is 'Balance of the stored-value card, in yuan';
        comment on column dws.member_profile.coach_id is
            'User id of the coach who is responsible for the member';
    end if;
    if to_regclass('dws.member_consumption') is null then
        create table dws.member_consumption (
            site_id bigint not null,
            order_id bigint not null,
            member_id bigint not null,
            business_date date not null,
            paid_at timestamptz not null,
            area text not null,
            item text not null,
            minutes integer not null default 0,
            amount numeric(10, 2) not null,
            coach_id bigint,
            constraint member_consumption_pkey primary key (site_id, order_id)
        );
        create index member_consumption_member_idx
            on dws.member_consumption (site_id, member_id, paid_at desc);
        create index member_consumption_date_idx on dws.member_consumption (site_id, business_date);
        comment on table dws.member_consumption is 'Paid orders of members, in yuan';
        comment on column dws.member_consumption.coach_id is
            'User id of the coach who took part, if any';
    end if;
    if to_regclass('dws.coach_daily') is null then
        create table dws.coach_daily (
            site_id bigint not null,
            coach_id bigint not null,
            coach_name text not null,
            business_date date not null,
            lessons integer not null default 0,
            lesson_minutes integer not null default 0,
            members integer not null default 0,
            revenue numeric(12, 2) not null default 0,
            constraint coach_daily_pkey primary key (site_id, coach_id, business_date)
        );
        create index coach_daily_date_idx on dws.coach_daily (site_id, business_date);
        comment on table dws.coach_daily is 'Work and revenue of a coach on a business date';
        comment on column dws.coach_daily.coach_id is 'The coach''s user id';
    end if;
    if to_regclass('dws.coach_task') is null then
        create table dws.coach_task (
            site_id bigint not null,
            task_id bigint not null,
            coach_id bigint not null,
            coach_name text not null,
            member_id bigint,
            title text not null,
            detail text not null default '',
            status text not null,
            assigned_on date not null,
            due_on date not null,
            done_on date,
            constraint coach_task_pkey primary key (site_id, task_id)
        );
        create index coach_task_coach_idx on dws.coach_task (site_id, coach_id, assigned_on desc);
        create index coach_task_member_idx on dws.coach_task (site_id, member_id);
        comment on table dws.coach_task is 'Tasks of coaches, most of them about a member';
        comment on column dws.coach_task.status is 'open or done';
    end if;
    if to_regclass('dws.member_note') is null then
        create table dws.member_note (
            site_id bigint not null,
            note_id bigint not null,
            member_id bigint not null,
            author_id bigint not null,
            author_name text not null,
            written_at timestamptz not null,
            content text not null,
            constraint member_note_pkey primary key (site_id, note_id)
        );
        create index member_note_member_idx
            on dws.member_note (site_id, member_id, written_at desc);
        comment on table dws.member_note is 'Notes of staff about a member';
    end if;
end $$;
