//! Alerts: runs that failed, ran out of time or met an open circuit, until an admin has seen to them.

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
        paging::{MAX_COUNTED, Page, Paging, Start, TimeKey, page},
        words::words,
    },
};

words! {
    /// Status of an alert, as clients and the column `alert_status` spell it.
    pub enum Status {
        Pending = "pending",
        Acknowledged = "acknowledged",
        /// Of no interest.
        Ignored = "ignored",
    }
}

/// How many of the newest alerts of each app of a site and each [`Status`] are grouped.
pub const MAX_GROUPED: i64 = 1_000;

/// The most alerts of one cause that are settled at once.
const MAX_SETTLED: i64 = 5_000;

/// A failure, or all of the same cause.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Of the run; of the newest of several.
    pub id: i64,
    /// Where.
    pub site_id: i64,
    /// Which app was asked, by its name.
    pub app_type: String,
    /// How it failed: `failed`, `timeout` or `circuit_open`.
    pub status: String,
    /// A word of [`Status`].
    pub alert_status: String,
    /// Why, for programs.
    pub error_code: Option<String>,
    /// Why, for people.
    pub error_message: Option<String>,
    /// When the run began; the newest of several.
    pub created_at: DateTime<Utc>,
    /// How many it stands for.
    pub occurrences: i64,
    /// When the oldest of them began.
    pub first_at: DateTime<Utc>,
}

impl Alert {
    /// With its place in the list.
    fn keyed(self) -> (TimeKey, Self) {
        ((self.created_at.timestamp_micros(), self.id), self)
    }
}

/// Which alerts are listed.
#[derive(Clone, Copy, Debug)]
pub struct AlertQuery {
    /// Of one site, or of all.
    pub scope: SiteScope,
    /// Of one app.
    pub app: Option<App>,
    /// Of one status.
    pub alert_status: Option<Status>,
    /// Begun in these days.
    pub dates: DateRange,
    /// Those of the same site, app, status, error code and alert status are one.
    pub group: bool,
}

impl AlertQuery {
    /// What a cursor of this list is bound to.
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

/// Lists alerts, the newest first: one by one, or by cause.
///
/// By cause, only the newest [`MAX_GROUPED`] alerts of each app of a site and each alert status are looked at; where there are more, the
/// total says so by being an estimate.
pub async fn list(db: &Db, query: &AlertQuery, paging: &Paging<TimeKey>) -> Result<Page<Alert>> {
    if query.group {
        causes(db, query, paging).await
    } else {
        each(db, query, paging).await
    }
}

async fn each(db: &Db, query: &AlertQuery, paging: &Paging<TimeKey>) -> Result<Page<Alert>> {
    let start = Start::of(paging.from);
    // The join is lateral so that an empty page still has its total.
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
        MAX_COUNTED,
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
    Ok(Page::counted(total, keyed, paging.size, &scope))
}

/// The ten newest alerts, however they stand.
pub async fn newest(db: &Db, scope: SiteScope) -> Result<Vec<Alert>> {
    // How many is said in the statement: planned for any number, it would read and sort them all.
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

/// What an admin says to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was seen.
    Acknowledge,
    /// It is of no interest.
    Ignore,
}

impl Verdict {
    /// The status that it gives an alert.
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

/// Settles an alert and, if `group`, also the pending ones of the same site, app, status and error code, at most
/// `MAX_SETTLED`. Returns how many alerts changed. The same verdict again changes nothing; another verdict
/// replaces that of the alert itself.
///
/// # Errors
/// [`Error::NotFound`] when it is no alert of this site.
pub async fn settle(
    db: &Db,
    site_id: i64,
    user_id: i64,
    id: i64,
    verdict: Verdict,
    group: bool,
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
    let most = if group { MAX_SETTLED } else { 0 };
    let affected = mark(&mut tx, site_id, &alert, verdict.alert_status(), most).await?;
    if affected > 0 {
        let (action, object_id) = (verdict.action(), id.to_string());
        let details = json!({
            "group": group,
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

/// An alert, and what others of the same cause have in common with it.
struct Cause {
    id: i64,
    created_at: DateTime<Utc>,
    app_type: String,
    status: String,
    error_code: Option<String>,
}

/// Marks an alert, and at most `most` of the pending ones of its cause; returns how many changed.
///
/// Rows are locked in the order of their ids: of two who do the same, the second waits for the first and
/// finds nothing left to do.
async fn mark(
    tx: &mut PgConnection,
    site_id: i64,
    alert: &Cause,
    alert_status: Status,
    most: i64,
) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        with cause (id, created_at) as materialized (
            select $2::bigint, $3::timestamptz
            union
            (select r.id, r.created_at from biz.ai_run_logs r
             where r.site_id = $1 and r.app_type = $4 and r.alert_status = 'pending' and r.status = $5
               and r.error_code is not distinct from $6
             order by r.created_at desc, r.id desc limit $8)
        ), chosen as materialized (
            -- Looked at once more under its lock, for somebody else may have settled it meanwhile.
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
        alert_status.name(),
        most,
    )
    .fetch_one(tx)
    .with_statement_timeout()
    .await
}
