//! Generates finance results before users need them: one job for each filter without a valid
//! result.

use serde::Serialize;

use super::{
    event::EventType,
    queue::{Connector, Job},
};
use crate::{
    governance::apps::App,
    insights::{facts::Period, results::ALL_AREAS},
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// Number of sites per statement.
const SITES: i64 = 50;

/// Counts of a prewarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Prewarmed {
    /// Active sites: sites with finance data of the last 31 days.
    pub sites: i64,
    /// Filters for which a job was queued. In a dry run, filters for which one would be.
    pub enqueued: i64,
    /// Filters with a valid result.
    pub valid: i64,
    /// Filters without a valid result that already have a pending or running job.
    pub under_way: i64,
}

/// Selects filters, and describes the new jobs.
struct Selection<'a> {
    after_site: i64,
    only_site: Option<i64>,
    connector: Connector,
    /// Queue jobs also for filters with a valid result.
    forced: bool,
    /// The job that queues these jobs. Its retries do not queue them again.
    parent: Option<&'a str>,
    dry_run: bool,
}

/// Queues jobs for missing results, for all active sites or for one. A dry run only counts.
pub async fn prewarm(
    db: &Db,
    connector: Connector,
    only_site: Option<i64>,
    dry_run: bool,
) -> Result<Prewarmed> {
    let mut done = Prewarmed::default();
    let mut after_site = 0;
    loop {
        let selection = Selection {
            after_site,
            only_site,
            connector,
            forced: false,
            parent: None,
            dry_run,
        };
        let (page, last_site) = enqueue(db, &selection).await?;
        done.sites += page.sites;
        done.enqueued += page.enqueued;
        done.valid += page.valid;
        done.under_way += page.under_way;
        match last_site {
            Some(last_site) => after_site = last_site,
            None => return Ok(done),
        }
    }
}

/// Queues jobs for a site whose facts are new. Returns the number of jobs.
pub(super) async fn enqueue_site(db: &Db, job: &Job) -> Result<u32> {
    let parent = format!("job:{}", job.id);
    let selection = Selection {
        after_site: 0,
        only_site: Some(job.site_id),
        connector: Connector::Job,
        forced: job.is_forced,
        parent: Some(&parent),
        dry_run: false,
    };
    let (queued, _) = enqueue(db, &selection).await?;
    Ok(u32::try_from(queued.enqueued).unwrap_or(u32::MAX))
}

/// Handles one page of sites. Also returns the last site of the page, if there was any.
async fn enqueue(db: &Db, selection: &Selection<'_>) -> Result<(Prewarmed, Option<i64>)> {
    let periods: Vec<String> = Period::ALL.map(|period| period.name().to_owned()).into();
    let row = sqlx::query!(
        r#"
        with page as (
            select s.id as site_id, site_today(s.id) as today from biz.sites s
            where s.id > $1 and ($2::bigint is null or s.id = $2) order by s.id limit $3
        ), areas as (
            select p.site_id, p.today, f.area, max(f.business_date) as last_day
            from page p join dws.finance_area_daily f on f.site_id = p.site_id and f.business_date between p.today - 200 and p.today
            group by p.site_id, p.today, f.area
        ), active as (
            select site_id, today from areas group by site_id, today having max(last_day) >= today - 31
        ), filters as (
            select a.site_id, a.today, $5::text as app, w.period || ':' || w.area as target, jsonb_build_object('period', w.period, 'area', w.area) as payload
            from active a cross join lateral (
                select period, area from unnest($4::text[]) period
                cross join (select $7::text as area union
                            select r.area from areas r where r.site_id = a.site_id and char_length(r.area) <= 64) each
            ) w
            union all
            select a.site_id, a.today, $6, period, jsonb_build_object('period', period)
            from active a cross join unnest($4::text[]) period
        ), judged as (
            select f.*, not $8 and exists (
                select from biz.ai_cache c
                where c.site_id = f.site_id and c.cache_type = f.app and c.target_id = f.target and c.status = 'valid'
                  and is_result_valid(c, f.today)) as held
            from filters f
        ), queued as (
            insert into biz.ai_trigger_jobs (site_id, event_type, event_id, connector_type, trigger_type, payload, app_chain, is_forced, dedup_key)
            select site_id, $9::text, $10::text || '/' || app || '/' || target, $11::text, 'prewarm', payload, array[app], $8,
                   concat_ws('/', today, $9::text, app, target)
            from judged where not held and not $12
            order by site_id, app, target
            on conflict do nothing
            returning id
        )
        select (select max(site_id) from page) as last_site,
               (select count(*) from active) as "sites!",
               (select count(*) from queued) as "queued!",
               count(*) filter (where held) as "held!",
               count(*) filter (where not held) as "missing!",
               count(*) filter (where not held and exists (
                   select from biz.ai_trigger_jobs j
                   where j.site_id = judged.site_id and not j.is_forced and j.dedup_key = concat_ws('/', today, $9::text, app, target)
                     and (j.status in ('pending', 'running') or (j.status = 'succeeded' and j.event_type <> 'prewarm')))) as "under_way!"
        from judged
        "#,
        selection.after_site,
        selection.only_site,
        SITES,
        &periods,
        App::Finance.name(),
        App::FinanceArea.name(),
        ALL_AREAS,
        selection.forced,
        EventType::Prewarm.name(),
        selection.parent,
        selection.connector.name(),
        selection.dry_run,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await?;
    let enqueued = if selection.dry_run {
        row.missing - row.under_way
    } else {
        row.queued
    };
    let page = Prewarmed {
        sites: row.sites,
        enqueued,
        valid: row.held,
        under_way: row.missing - enqueued,
    };
    Ok((page, row.last_site))
}
