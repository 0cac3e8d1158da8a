//! Generates finance results before users need them: one job for each filter without a valid
//! result.

use chrono::{DateTime, NaiveTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::PgExecutor;

use super::{
    event::EventType,
    queue::{Connector, Job},
};
use crate::{
    governance::{
        apps::App,
        audit::{self, Action},
        auth::SiteScope,
    },
    insights::{facts::Period, results::ALL_AREAS},
    platform::{
        db::{Db, StatementTimeout},
        env::{ConfigError, Env},
        error::{Error, Result},
        words::words,
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

fn periods() -> Vec<String> {
    Period::ALL.map(|period| period.name().to_owned()).into()
}

/// Queues jobs for the missing results of one site, at the request of an admin. A dry run only
/// counts.
///
/// # Errors
/// [`Error::NotFound`] if there is no such site. [`Error::OtherNumber`] if another number of jobs
/// than the expected one would be queued.
pub async fn prewarm_site(
    db: &Db,
    site_id: i64,
    user_id: i64,
    dry_run: bool,
    expected: Option<i64>,
) -> Result<Prewarmed> {
    let mut tx = db.transaction().await?;
    let selection = Selection {
        after_site: 0,
        only_site: Some(site_id),
        connector: Connector::AdminApi(user_id.into()),
        forced: false,
        parent: None,
        dry_run,
    };
    let (found, site) = enqueue(&mut *tx, &selection).await?;
    site.ok_or(Error::NotFound)?;
    if !dry_run {
        Error::unless_expected(found.enqueued, expected)?;
        let details = json!({ "queued": found.enqueued, "already_valid": found.valid });
        audit::record(&mut tx, Action::Prewarm, site_id, user_id, None, details).await?;
        tx.commit().await?;
    }
    Ok(found)
}

words! {
    /// State of a filter of the finance board.
    pub enum FilterState {
        Valid = "valid",
        Missing = "missing",
        /// A job is pending or running, or a function generates the result.
        Generating = "generating",
    }
}

/// A filter of the finance board and its result.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct PrewarmItem {
    pub site_id: i64,
    /// Name of the application.
    pub app_type: String,
    pub period: String,
    /// `None` for the comparison of areas.
    pub area: Option<String>,
    pub state: FilterState,
    /// End of the valid result.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The filters of all active sites in `scope`, by site, application, period and area.
pub async fn prewarm_matrix(db: &Db, scope: SiteScope) -> Result<Vec<PrewarmItem>> {
    let mut items = Vec::new();
    let mut after_site = 0;
    loop {
        let (page, last_site) = read_matrix(db, scope, after_site).await?;
        items.extend(page);
        match last_site {
            Some(last_site) => after_site = last_site,
            None => return Ok(items),
        }
    }
}

async fn read_matrix(
    db: &Db,
    scope: SiteScope,
    after_site: i64,
) -> Result<(Vec<PrewarmItem>, Option<i64>)> {
    let rows = sqlx::query!(
        r#"
        with page (last_site) as (
            select max(id) from (
                select s.id from biz.sites s where s.id > $1 and ($2::bigint is null or s.id = $2) order by s.id limit $3) each
        )
        select page.last_site, f.site_id, f.app, f.period, f.area,
               (select c.expires_at from biz.ai_cache c
                where c.site_id = f.site_id and c.cache_type = f.app and c.target_id = f.target and c.status = 'valid'
                  and is_result_valid(c, f.today)) as expires_at,
               coalesce((select true from biz.ai_cache g
                         where g.site_id = f.site_id and g.cache_type = f.app and g.target_id = f.target
                           and g.status = 'generating' and g.lease_until > now()),
                        (select true from biz.ai_trigger_jobs j
                         where j.site_id = f.site_id and not j.is_forced and j.dedup_key = concat_ws('/', f.today, $8::text, f.app, f.target)
                           and j.status in ('pending', 'running')), false) as "is_under_way!"
        from page left join prewarm_filters($1, $2, $3, $4, $5, $6, $7) f on true
        order by f.site_id, f.app, array_position($4, f.period), f.area
        "#,
        after_site,
        scope.site_id(),
        SITES,
        &periods(),
        App::Finance.name(),
        App::FinanceArea.name(),
        ALL_AREAS,
        EventType::Prewarm.name(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let last_site = rows.first().and_then(|row| row.last_site);
    let items = rows.into_iter().filter_map(|row| {
        Some(PrewarmItem {
            site_id: row.site_id?,
            app_type: row.app?,
            period: row.period?,
            area: row.area,
            state: match (row.expires_at, row.is_under_way) {
                (Some(_), _) => FilterState::Valid,
                (None, true) => FilterState::Generating,
                (None, false) => FilterState::Missing,
            },
            expires_at: row.expires_at,
        })
    });
    Ok((items.collect(), last_site))
}

/// The daily time of the schedule that prewarms all sites.
#[derive(Clone, Debug)]
pub struct PrewarmSchedule {
    /// `None` if the schedule is not a time of each day.
    at: Option<NaiveTime>,
    zone: String,
}

impl Default for PrewarmSchedule {
    /// The default of `template.yaml`.
    fn default() -> Self {
        Self {
            at: daily_time("cron(30 5 * * ? *)"),
            zone: "Asia/Shanghai".to_owned(),
        }
    }
}

impl PrewarmSchedule {
    /// Reads `PREWARM_SCHEDULE`, an expression of `EventBridge` such as `cron(30 5 * * ? *)`, and
    /// `PREWARM_TIMEZONE`.
    ///
    /// # Errors
    /// Names the variable that is not an expression.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let Self { mut at, mut zone } = Self::default();
        let name = "PREWARM_SCHEDULE";
        if let Some(expression) = env.text(name) {
            if !["cron(", "rate("]
                .iter()
                .any(|kind| expression.starts_with(kind))
            {
                return Err(ConfigError::Invalid {
                    name: name.to_owned(),
                    expected: "`cron(…)` or `rate(…)`",
                });
            }
            at = daily_time(expression);
        }
        if let Some(name) = env.text("PREWARM_TIMEZONE") {
            name.clone_into(&mut zone);
        }
        Ok(Self { at, zone })
    }

    /// True if the schedule is a time of each day.
    pub fn is_daily(&self) -> bool {
        self.at.is_some()
    }

    /// The last time at which a run was due. `None` as for [`Self::next_run`].
    pub async fn last_due(&self, db: &Db) -> Result<Option<DateTime<Utc>>> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        sqlx::query_scalar!(
            "select case when biz.is_timezone($2) then
                 (timezone($2, now())::date - case when timezone($2, now())::time < $1 then 1 else 0 end + $1) at time zone $2 end",
            at,
            self.zone,
        )
        .fetch_one(db)
        .with_statement_timeout()
        .await
    }

    /// The next run. `None` if the schedule is not a time of each day, or PostgreSQL does not know
    /// its time zone.
    pub async fn next_run(&self, db: &Db) -> Result<Option<DateTime<Utc>>> {
        let Some(at) = self.at else {
            return Ok(None);
        };
        sqlx::query_scalar!(
            "select case when biz.is_timezone($2) then
                 (timezone($2, now())::date + case when timezone($2, now())::time < $1 then 0 else 1 end + $1) at time zone $2 end",
            at,
            self.zone,
        )
        .fetch_one(db)
        .with_statement_timeout()
        .await
    }
}

/// The time of day in `cron(minutes hours * * ? *)`.
fn daily_time(expression: &str) -> Option<NaiveTime> {
    let fields = expression.strip_prefix("cron(")?.strip_suffix(')')?;
    let (minute, rest) = fields.split_once(' ')?;
    let hour = rest.strip_suffix(" * * ? *")?;
    NaiveTime::from_hms_opt(hour.parse().ok()?, minute.parse().ok()?, 0)
}

/// Handles one page of sites. Also returns the last site of the page, if there was any.
async fn enqueue(
    db: impl PgExecutor<'_>,
    selection: &Selection<'_>,
) -> Result<(Prewarmed, Option<i64>)> {
    let periods = periods();
    let row = sqlx::query!(
        r#"
        with filters as materialized (
            select * from prewarm_filters($1, $2, $3, $4, $5, $6, $7)
        ), judged as (
            select f.*, not $8 and exists (
                select from biz.ai_cache c
                where c.site_id = f.site_id and c.cache_type = f.app and c.target_id = f.target and c.status = 'valid'
                  and is_result_valid(c, f.today)) as held
            from filters f
        ), queued as (
            insert into biz.ai_trigger_jobs (site_id, event_type, event_id, connector_type, trigger_type, payload, app_chain, is_forced, dedup_key)
            select site_id, $9::text, $10::text || '/' || app || '/' || target, $11::text, 'prewarm',
                   jsonb_strip_nulls(jsonb_build_object('period', period, 'area', area)), array[app], $8,
                   concat_ws('/', today, $9::text, app, target)
            from judged where not held and not $12
            order by site_id, app, target
            on conflict do nothing
            returning id
        )
        select (select max(id) from (select s.id from biz.sites s where s.id > $1 and ($2::bigint is null or s.id = $2) order by s.id limit $3) page) as last_site,
               count(distinct judged.site_id) as "sites!",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_of_each_day_is_read() {
        let at = NaiveTime::from_hms_opt(5, 30, 0);
        assert_eq!(daily_time("cron(30 5 * * ? *)"), at);
        for other in [
            "cron(30 5 ? * 2 *)",
            "cron(30 25 * * ? *)",
            "rate(1 day)",
            "",
        ] {
            assert_eq!(daily_time(other), None, "{other}");
        }
    }
}
