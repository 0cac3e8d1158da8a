//! Alerts: runs that failed, timed out or were rejected by an open circuit. An admin acknowledges
//! or ignores them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    governance::{
        apps::App,
        audit::{self, Action},
        auth::SiteScope,
    },
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::{Error, Result},
        paging::{MAX_COUNTED_ON_DESK, Page, Paging, Start, TimeKey, page},
        words::words,
    },
};

words! {
    /// The status of an alert, as in the API and the column `alert_status`.
    pub enum Status {
        Pending = "pending",
        Acknowledged = "acknowledged",
        /// Not relevant.
        Ignored = "ignored",
    }
}

/// Grouping reads at most this many of the newest alerts per site, app and [`Status`].
pub const MAX_GROUPED: i64 = 1_000;

/// The most alerts of the same cause that one request settles.
const MAX_SETTLED: i64 = 5_000;

/// An alert, or a group of alerts with the same cause.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Alert {
    /// Id of the run. In a group, of the newest run.
    pub id: i64,
    pub site_id: i64,
    /// A word of [`App`].
    pub app_type: String,
    /// `failed`, `timeout` or `circuit_open`.
    pub status: String,
    /// A word of [`Status`].
    pub alert_status: String,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// When the run began. In a group, the newest run.
    pub created_at: DateTime<Utc>,
    /// Alerts in the group; otherwise 1.
    pub occurrences: i64,
    /// When the oldest run of the group began.
    pub first_at: DateTime<Utc>,
}

impl Alert {
    /// Adds the sort key.
    fn keyed(self) -> (TimeKey, Self) {
        ((self.created_at.timestamp_micros(), self.id), self)
    }
}

/// Filters of the list of alerts.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct AlertQuery {
    pub scope: SiteScope,
    pub app: Option<App>,
    pub alert_status: Option<Status>,
    /// When the run began.
    pub dates: DateRange,
    /// Groups alerts of the same site, app, status, error code and alert status.
    pub group: bool,
}

impl AlertQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            app,
            alert_status,
            dates,
            group,
        } = self;
        format!("alerts/{scope:?}/{app:?}/{alert_status:?}/{dates}/{group}")
    }

    fn apps(&self) -> Vec<&'static str> {
        match self.app {
            Some(app) => vec![app.name()],
            None => App::ALL.map(App::name).to_vec(),
        }
    }

    fn alert_statuses(&self) -> Vec<&'static str> {
        match self.alert_status {
            Some(status) => vec![status.name()],
            None => Status::ALL.map(Status::name).to_vec(),
        }
    }
}

/// Lists alerts or groups of alerts, newest first.
///
/// Groups are made of the newest [`MAX_GROUPED`] alerts per site, app and alert status. If an app
/// reaches that limit, the total is marked as an estimate.
pub async fn list(db: &Db, query: &AlertQuery, paging: &Paging<TimeKey>) -> Result<Page<Alert>> {
    if query.group {
        causes(db, query, paging).await
    } else {
        each(db, query, paging).await
    }
}

async fn each(db: &Db, query: &AlertQuery, paging: &Paging<TimeKey>) -> Result<Page<Alert>> {
    let start = Start::of(paging.from);
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at from date_range($1, $2, $3, $4, $5)
        )
        select counted.total as "total!", r.id as "id?", r.site_id as "site_id?", r.app_type as "app_type?", r.status as "status?",
               r.alert_status, r.error_code, r.error_message, r.created_at as "created_at?"
        from days cross join count_alerts($1, days.began_at, days.ended_at, $6, $7, $8::bigint + 1) counted (total) left join lateral (
            select r.* from find_alerts(
                $1, days.began_at, days.ended_at, $6, $7, coalesce($9, 'infinity'::timestamptz), coalesce($10::bigint, 0), $11, $12
            ) k, lateral (
                select * from biz.ai_run_logs r where r.site_id = k.site_id and r.created_at = k.created_at and r.id = k.id limit 1
            ) r
        ) r on true
        order by r.created_at desc, r.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.apps() as _,
        query.alert_statuses() as _,
        MAX_COUNTED_ON_DESK,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let alerts = rows.into_iter().filter_map(|row| {
        Some(Alert {
            id: row.id?,
            site_id: row.site_id?,
            app_type: row.app_type?,
            status: row.status?,
            alert_status: row.alert_status?,
            error_code: row.error_code,
            error_message: row.error_message,
            created_at: row.created_at?,
            occurrences: 1,
            first_at: row.created_at?,
        })
    });
    let scope = query.cursor_scope();
    let keyed = alerts.map(Alert::keyed);
    Ok(Page::counted_up_to(
        MAX_COUNTED_ON_DESK,
        total,
        keyed,
        paging.size,
        &scope,
    ))
}

/// Returns the ten newest alerts of any alert status.
pub async fn newest(db: &Db, scope: SiteScope) -> Result<Vec<Alert>> {
    // The limit is a literal: with a parameter, the plan would read and sort all alerts.
    let rows = sqlx::query!(
        r#"
        select r.id, r.site_id, r.app_type, r.status, r.alert_status as "alert_status!", r.error_code, r.error_message, r.created_at
        from biz.sites s cross join lateral (
            select * from biz.ai_run_logs r where r.site_id = s.id and r.alert_status is not null
            order by r.created_at desc, r.id desc limit 10
        ) r
        where $1::bigint is null or s.id = $1
        order by r.created_at desc, r.id desc limit 10
        "#,
        scope.site_id(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let alerts = rows.into_iter().map(|row| Alert {
        id: row.id,
        site_id: row.site_id,
        app_type: row.app_type,
        status: row.status,
        alert_status: row.alert_status,
        error_code: row.error_code,
        error_message: row.error_message,
        created_at: row.created_at,
        occurrences: 1,
        first_at: row.created_at,
    });
    Ok(alerts.collect())
}

async fn causes(db: &Db, query: &AlertQuery, paging: &Paging<TimeKey>) -> Result<Page<Alert>> {
    let start = Start::of(paging.from);
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at from date_range($1, $2, $3, $4, $5)
        ), causes as materialized (
            select c.* from days, group_alerts($1, days.began_at, days.ended_at, $6, $7, $8) c
        ), counted (total, is_cut) as (
            select count(*), coalesce(bool_or(c.is_cut), false) from causes c
        )
        select counted.total as "total!", counted.is_cut as "is_cut!", r.id as "id?", r.site_id as "site_id?", r.app_type as "app_type?",
               r.status as "status?", r.alert_status, r.error_code, r.error_message, r.created_at as "created_at?", r.occurrences, r.first_at
        from counted left join lateral (
            select r.*, c.occurrences, c.first_at from (
                select * from causes c
                where (c.last_at, c.id) < (coalesce($9, 'infinity'::timestamptz), coalesce($10::bigint, 0))
                order by c.last_at desc, c.id desc limit $11 offset $12
            ) c, lateral (
                select * from biz.ai_run_logs r where r.site_id = c.site_id and r.created_at = c.last_at and r.id = c.id limit 1
            ) r
        ) r on true
        order by r.created_at desc, r.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.apps() as _,
        query.alert_statuses() as _,
        MAX_GROUPED,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let first = rows.first();
    let (total, is_cut) = first.map_or((0, false), |row| (row.total, row.is_cut));
    let alerts = rows.into_iter().filter_map(|row| {
        Some(Alert {
            id: row.id?,
            site_id: row.site_id?,
            app_type: row.app_type?,
            status: row.status?,
            alert_status: row.alert_status?,
            error_code: row.error_code,
            error_message: row.error_message,
            created_at: row.created_at?,
            occurrences: row.occurrences?,
            first_at: row.first_at?,
        })
    });
    let keyed = alerts.map(Alert::keyed);
    let (items, next_cursor) = page(keyed, paging.size, &query.cursor_scope());
    Ok(Page {
        items,
        total,
        total_is_estimate: is_cut,
        next_cursor,
    })
}

/// Intervals of a [`Timeline`].
pub const INTERVALS: usize = 24;

/// How often causes occurred in each of [`INTERVALS`] intervals of equal length.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Begin of the first interval.
    pub from: DateTime<Utc>,
    /// End of the last interval.
    pub to: DateTime<Utc>,
    counts: HashMap<CauseKey, [i64; INTERVALS]>,
}

/// Site, app, alert status, status and error code of alerts of one cause.
type CauseKey = (i64, String, String, String, Option<String>);

impl Timeline {
    /// The counts of a cause. They add up to less than its occurrences if it occurred before the
    /// first interval, or if [`MAX_GROUPED`] newer alerts were counted.
    pub fn of(&self, cause: &Alert) -> [i64; INTERVALS] {
        let key = (
            cause.site_id,
            cause.app_type.clone(),
            cause.alert_status.clone(),
            cause.status.clone(),
            cause.error_code.clone(),
        );
        self.counts.get(&key).copied().unwrap_or_default()
    }
}

/// Counts alerts of some causes of a list over time: over the dates of the list, or the last 24
/// hours of them if they have no beginning.
pub async fn timeline(db: &Db, query: &AlertQuery, causes: &[Alert]) -> Result<Timeline> {
    let sites: Vec<i64> = causes.iter().map(|cause| cause.site_id).collect();
    let apps: Vec<String> = causes.iter().map(|cause| cause.app_type.clone()).collect();
    let statuses: Vec<String> = causes
        .iter()
        .map(|cause| cause.alert_status.clone())
        .collect();
    // The left join returns one row with the range even if there was no alert.
    let rows = sqlx::query!(
        r#"
        with span as materialized (
            select case when isfinite(asked.began_at) then asked.began_at else ended.at - interval '24 hours' end as began_at, ended.at as ended_at
            from date_range($1, $2, $3, $4, $5) asked cross join lateral (select least(asked.ended_at, now()) as at) ended
        )
        select span.began_at as "began_at!", span.ended_at as "ended_at!", a.site_id as "site_id?", a.app_type as "app_type?",
               a.alert_status as "alert_status?", a.status as "status?", a.error_code, a.place as "place?", a.occurrences as "occurrences?"
        from span left join lateral alerts_over_time($6, $7, $8, span.began_at, span.ended_at, $9, $10) a on true
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        &sites,
        &apps,
        &statuses,
        i32::try_from(INTERVALS).unwrap_or(i32::MAX),
        MAX_GROUPED,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let first = rows.first();
    let (from, to) = first.map_or_else(Default::default, |row| (row.began_at, row.ended_at));
    let mut counts: HashMap<CauseKey, [i64; INTERVALS]> = HashMap::new();
    for row in rows {
        let (Some(site_id), Some(app), Some(alert_status), Some(status), Some(place)) = (
            row.site_id,
            row.app_type,
            row.alert_status,
            row.status,
            row.place,
        ) else {
            continue;
        };
        let key = (site_id, app, alert_status, status, row.error_code);
        let place = usize::try_from(place - 1).unwrap_or_default();
        if let Some(count) = counts.entry(key).or_default().get_mut(place) {
            *count += row.occurrences.unwrap_or_default();
        }
    }
    Ok(Timeline { from, to, counts })
}

/// An admin's decision about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The alert was seen.
    Acknowledge,
    /// The alert is not relevant.
    Ignore,
}

impl Verdict {
    /// The alert status after this decision.
    pub const fn alert_status(self) -> Status {
        match self {
            Self::Acknowledge => Status::Acknowledged,
            Self::Ignore => Status::Ignored,
        }
    }

    const fn action(self) -> Action {
        match self {
            Self::Acknowledge => Action::AcknowledgeAlert,
            Self::Ignore => Action::IgnoreAlert,
        }
    }
}

/// What an admin decides about an alert, or about all alerts of its cause.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Of the alert, and of the others.
    pub verdict: Verdict,
    /// Also settles the pending alerts of the same site, app, status and error code, at most
    /// `MAX_SETTLED`.
    pub group: bool,
    /// When the runs of the other alerts began.
    pub dates: DateRange,
    /// How many alerts change. `None`: any number.
    pub expected: Option<i64>,
}

/// Acknowledges or ignores an alert, and returns how many alerts changed.
///
/// Repeating a verdict changes nothing. Another verdict replaces the verdict of the alert itself
/// only.
///
/// # Errors
/// [`Error::NotFound`] if the site has no such alert. [`Error::OtherNumber`] if another number than
/// the expected one would change.
pub async fn settle(
    db: &Db,
    site_id: i64,
    user_id: i64,
    id: i64,
    decision: &Decision,
) -> Result<i64> {
    let mut tx = db.transaction().await?;
    let alert = sqlx::query_as!(
        Cause,
        "select id, created_at, app_type, status, error_code from biz.ai_run_logs
         where site_id = $1 and id = $2 and alert_status is not null",
        site_id,
        id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let affected = mark(&mut tx, site_id, &alert, decision).await?;
    Error::unless_expected(affected, decision.expected)?;
    if affected > 0 {
        let (action, object_id) = (decision.verdict.action(), id.to_string());
        let details = json!({
            "group": decision.group,
            "affected": affected,
            "app_type": alert.app_type,
            "status": alert.status,
            "error_code": alert.error_code,
        });
        audit::record(&mut tx, action, site_id, user_id, Some(&object_id), details).await?;
    }
    tx.commit().await?;
    Ok(affected)
}

/// An alert, with the columns that alerts of the same cause share.
struct Cause {
    id: i64,
    created_at: DateTime<Utc>,
    app_type: String,
    status: String,
    error_code: Option<String>,
}

/// Marks an alert, and the pending alerts of the same cause if the decision is about them. Returns
/// how many changed.
///
/// Rows are locked in the order of their ids, so that two requests cannot deadlock. The second
/// request waits for the first, then finds no pending alert.
async fn mark(
    tx: &mut PgConnection,
    site_id: i64,
    alert: &Cause,
    decision: &Decision,
) -> Result<i64> {
    let Decision { dates, group, .. } = decision;
    let limit = if *group { MAX_SETTLED } else { 0 };
    sqlx::query_scalar!(
        r#"
        with cause (id, created_at) as materialized (
            select $2::bigint, $3::timestamptz
            union
            -- Lateral with its own order and limit, so that the plan reads the index backwards and stops.
            select r.* from date_range($1, $9, $10, $11, $12) days, lateral (
                select r.id, r.created_at from biz.ai_run_logs r
                where r.site_id = $1 and r.app_type = $4 and r.alert_status = 'pending' and r.status = $5
                  and r.error_code is not distinct from $6 and r.created_at >= days.began_at and r.created_at < days.ended_at
                order by r.created_at desc, r.id desc limit $8
            ) r
        ), chosen as materialized (
            -- Checked again under the lock: another request may have settled it in the meantime.
            select r.id, r.created_at from cause c join biz.ai_run_logs r on r.id = c.id and r.created_at = c.created_at
            where r.site_id = $1 and (r.alert_status = 'pending' or r.id = $2 and r.alert_status <> $7)
            order by r.id for no key update of r
        ), settled as (
            update biz.ai_run_logs r set alert_status = $7 from chosen c
            where r.id = c.id and r.created_at = c.created_at and r.site_id = $1
            returning r.id
        )
        select count(*) as "affected!" from settled
        "#,
        site_id,
        alert.id,
        alert.created_at,
        alert.app_type,
        alert.status,
        alert.error_code,
        decision.verdict.alert_status().name(),
        limit,
        dates.from_day(),
        dates.from_at(),
        dates.to_day(),
        dates.to_at(),
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}
