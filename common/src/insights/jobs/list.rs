//! Lists jobs for admins.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{event::EventType, queue::WaitsFor, step::FACTS_MISSING};
use crate::{
    governance::auth::SiteScope,
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::Result,
        paging::{MAX_COUNTED_ON_DESK, Page, Paging, Start, TimeKey},
        words::words,
    },
};

words! {
    /// Status of a job, as in the API and the column `status`.
    pub enum Status {
        /// Waits for a worker, or for the time of its next try.
        Pending = "pending",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        /// The same event came earlier on the same business date.
        SkippedDuplicate = "skipped_duplicate",
        /// Cancelled by an admin, before it started or after a step.
        Cancelled = "cancelled",
    }
}

words! {
    /// What a pending job waits for, as in the API.
    pub enum WaitingFor {
        /// Room in the budget of its site.
        Budget = "budget",
        /// The circuit of the application that it calls next.
        Circuit = "circuit",
        /// Another function that generates the same result, or a reply in its conversation.
        Generator = "generator",
        /// Facts that are not loaded yet.
        Facts = "facts",
        /// The pause before its next try.
        Backoff = "backoff",
    }
}

impl WaitingFor {
    /// Converts the columns `waits_for` and `error_code`.
    pub(super) fn of(waits_for: Option<&str>, error_code: Option<&str>) -> Option<Self> {
        Some(match WaitsFor::parse(waits_for?)? {
            WaitsFor::Budget => Self::Budget,
            WaitsFor::Circuit => Self::Circuit,
            WaitsFor::Result | WaitsFor::Reply => Self::Generator,
            WaitsFor::Retry if error_code == Some(FACTS_MISSING) => Self::Facts,
            WaitsFor::Retry => Self::Backoff,
        })
    }
}

/// A job in a list.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct JobItem {
    pub id: i64,
    pub site_id: i64,
    /// Name of the event type.
    pub event_type: String,
    /// The member of the event, if it has one.
    pub member_id: Option<i64>,
    pub status: String,
    /// Names of the applications, in order.
    pub app_chain: Vec<String>,
    /// If true, valid results are not reused.
    pub is_forced: bool,
    /// When a worker first claimed it.
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// True if an admin cancelled the running job. It ends after its step.
    pub cancel_requested: bool,
    /// When a worker may claim the pending job.
    pub run_after: Option<DateTime<Utc>>,
    /// Why that time is in the future.
    pub waiting_for: Option<WaitingFor>,
    pub created_at: DateTime<Utc>,
}

/// Filter of a list of jobs.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct JobQuery {
    /// One site, or all sites.
    pub scope: SiteScope,
    pub event_type: Option<EventType>,
    pub status: Option<Status>,
    /// Only jobs of this batch, without their retries.
    pub batch_id: Option<Uuid>,
    /// Dates on which the jobs were created.
    pub dates: DateRange,
}

impl JobQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            event_type,
            status,
            batch_id,
            dates,
        } = self;
        format!("trigger-jobs/{scope:?}/{event_type:?}/{status:?}/{batch_id:?}/{dates}")
    }

    /// The event types and statuses that match, for an index with both. Without a filter, both are
    /// empty, and the query uses another index. For a batch, the event types are empty, because the
    /// index of batches has only the status.
    fn kinds(&self) -> (Vec<String>, Vec<String>) {
        if self.event_type.is_none() && self.status.is_none() && self.batch_id.is_none() {
            return (Vec::new(), Vec::new());
        }
        let events = match self.batch_id {
            Some(_) => Vec::new(),
            None => event_names(self.event_type),
        };
        let statuses = Status::ALL.into_iter();
        let statuses = statuses.filter(|status| self.status.is_none_or(|asked| asked == *status));
        let statuses = statuses.map(|status| status.name().to_owned());
        (events, statuses.collect())
    }
}

/// The name of an event type, or of all event types.
pub(super) fn event_names(only: Option<EventType>) -> Vec<String> {
    let events = EventType::ALL.into_iter();
    let events = events.filter(|event| only.is_none_or(|only| only == *event));
    events.map(|event| event.name().to_owned()).collect()
}

/// A page of jobs, with a counter.
#[derive(Debug)]
pub struct JobPage {
    /// Newest first.
    pub jobs: Page<JobItem>,
    /// Number of events of today that were skipped as duplicates, independent of the other filters.
    /// Today is the current date in the site's time zone. For all sites it is the date in Shanghai.
    pub today_skipped_duplicates: i64,
}

/// Lists jobs, newest first.
#[expect(clippy::too_many_lines, reason = "one statement and its row")]
pub async fn list(db: &Db, query: &JobQuery, paging: &Paging<TimeKey>) -> Result<JobPage> {
    let (events, statuses) = query.kinds();
    let start = Start::of(paging.from);
    // Each site and kind, and each status of a batch, is read separately, newest first, and only as
    // many rows as the page needs. With a lateral subquery and a limit, the planner always uses the
    // index.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            -- The page begins at the cursor or at the end of the dates, whichever is older. With two
            -- conditions, the index would be read from the newer one.
            select began_at, ended_at, least($9, ended_at) as page_from, case when $9 < ended_at then $10::bigint else 0 end as page_from_id
            from date_range($1, $2, $3, $4, $5)
        ), sites (id) as materialized (
            select s.id from biz.sites s where $1::bigint is null or s.id = $1
        ), kinds (site_id, event_type, status) as materialized (
            select s.id, e.name, t.name from sites s cross join unnest($6::text[]) e (name) cross join unnest($7::text[]) t (name)
        ), counted (total) as (
            select count(*) from (
                select 1 from sites s cross join lateral (
                    select from biz.ai_trigger_jobs j
                    where cardinality($6::text[]) = 0 and $13::uuid is null and j.site_id = s.id
                      and j.created_at >= (select began_at from days) and j.created_at < (select ended_at from days)
                    order by j.created_at desc limit $8::bigint + 1
                ) each
                union all
                select 1 from unnest($7::text[]) t (status) cross join lateral (
                    select from biz.ai_trigger_jobs j
                    where j.batch_id = $13 and j.status = t.status and ($1::bigint is null or j.site_id = $1) and ($14::text is null or j.event_type = $14)
                      and j.created_at >= (select began_at from days) and j.created_at < (select ended_at from days)
                    order by j.created_at desc limit $8::bigint + 1
                ) each
                union all
                select 1 from kinds k cross join lateral (
                    select from biz.ai_trigger_jobs j
                    where j.site_id = k.site_id and j.event_type = k.event_type and j.status = k.status
                      and j.created_at >= (select began_at from days) and j.created_at < (select ended_at from days)
                    order by j.created_at desc limit $8::bigint + 1
                ) each
                limit $8::bigint + 1
            ) few
        ), page (site_id, id) as (
            select site_id, id from (
                select s.id as site_id, each.id, each.created_at from sites s cross join lateral (
                    select j.id, j.created_at from biz.ai_trigger_jobs j
                    where cardinality($6::text[]) = 0 and $13::uuid is null and j.site_id = s.id
                      and j.created_at >= (select began_at from days)
                      and (j.created_at, j.id) < ((select page_from from days), (select page_from_id from days))
                    order by j.created_at desc, j.id desc limit $11::bigint + $12::bigint
                ) each
                union all
                select k.site_id, each.id, each.created_at from kinds k cross join lateral (
                    select j.id, j.created_at from biz.ai_trigger_jobs j
                    where j.site_id = k.site_id and j.event_type = k.event_type and j.status = k.status
                      and j.created_at >= (select began_at from days)
                      and (j.created_at, j.id) < ((select page_from from days), (select page_from_id from days))
                    order by j.created_at desc, j.id desc limit $11::bigint + $12::bigint
                ) each
                union all
                select each.site_id, each.id, each.created_at from unnest($7::text[]) t (status) cross join lateral (
                    select j.site_id, j.id, j.created_at from biz.ai_trigger_jobs j
                    where j.batch_id = $13 and j.status = t.status and ($1::bigint is null or j.site_id = $1) and ($14::text is null or j.event_type = $14)
                      and j.created_at >= (select began_at from days)
                      and (j.created_at, j.id) < ((select page_from from days), (select page_from_id from days))
                    order by j.created_at desc, j.id desc limit $11::bigint + $12::bigint
                ) each
            ) found
            order by created_at desc, id desc limit $11 offset $12
        ), skipped (today) as (
            select count(*) from biz.ai_trigger_jobs j
            where j.status = 'skipped_duplicate' and ($1::bigint is null or j.site_id = $1)
              and j.created_at >= (select local_day(zone)::timestamp at time zone zone from zone_of($1) as zone)
        )
        select counted.total as "total!", skipped.today as "skipped!", j.id as "id?", j.site_id as "site_id?", j.event_type as "event_type?",
               j.member_id, j.status as "status?", j.app_chain as "app_chain?", j.is_forced as "is_forced?", j.started_at, j.finished_at,
               j.cancel_requested_at is not null and j.status = 'running' as "cancel_requested?",
               case j.status when 'pending' then j.run_after end as "run_after?",
               case when j.status = 'pending' and j.run_after > now() then j.waits_for::text end as "waits_for?", j.error_code,
               j.created_at as "created_at?"
        from counted cross join skipped left join (
            select each.* from page cross join lateral (select * from biz.ai_trigger_jobs j where j.id = page.id and j.site_id = page.site_id limit 1) each
        ) j on true
        order by j.created_at desc, j.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        &events,
        &statuses,
        MAX_COUNTED_ON_DESK,
        start.before,
        start.before_id,
        paging.size + 1,
        start.offset,
        query.batch_id,
        query.event_type.map(EventType::name),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    let (total, skipped) = rows.first().map_or((0, 0), |row| (row.total, row.skipped));
    let jobs = rows.into_iter().filter_map(|row| {
        let job = JobItem {
            id: row.id?,
            site_id: row.site_id?,
            event_type: row.event_type?,
            member_id: row.member_id,
            status: row.status?,
            app_chain: row.app_chain?,
            is_forced: row.is_forced?,
            started_at: row.started_at,
            finished_at: row.finished_at,
            cancel_requested: row.cancel_requested?,
            run_after: row.run_after,
            waiting_for: WaitingFor::of(row.waits_for.as_deref(), row.error_code.as_deref()),
            created_at: row.created_at?,
        };
        Some(((job.created_at.timestamp_micros(), job.id), job))
    });
    Ok(JobPage {
        jobs: Page::counted_up_to(
            MAX_COUNTED_ON_DESK,
            total,
            jobs,
            paging.size,
            &query.cursor_scope(),
        ),
        today_skipped_duplicates: skipped,
    })
}

/// Jobs of a status, counted up to [`MAX_OF_STATUS`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct JobCount {
    /// A word of [`Status`].
    pub status: String,
    pub count: i64,
}

/// The most jobs of a status that [`count_by_status`] counts.
pub const MAX_OF_STATUS: i64 = 1_000;

/// Counts the jobs of each status that match the other filters.
pub async fn count_by_status(db: &Db, query: &JobQuery) -> Result<Vec<JobCount>> {
    let statuses = Status::ALL.map(|status| status.name().to_owned());
    sqlx::query_as!(
        JobCount,
        r#"
        select t.name as "status!", (
            select count(*) from (
                select from biz.sites s cross join unnest($6::text[]) e (name) cross join lateral (
                    select from biz.ai_trigger_jobs j
                    where $8::uuid is null and j.site_id = s.id and j.event_type = e.name and j.status = t.name
                      and j.created_at >= days.began_at and j.created_at < days.ended_at
                    order by j.created_at desc limit $9
                ) each
                where $1::bigint is null or s.id = $1
                union all
                select from biz.ai_trigger_jobs j
                where j.batch_id = $8 and j.event_type = any ($6) and j.status = t.name and ($1::bigint is null or j.site_id = $1)
                  and j.created_at >= days.began_at and j.created_at < days.ended_at
                limit $9
            ) few
        ) as "count!"
        from date_range($1, $2, $3, $4, $5) days, unnest($7::text[]) t (name)
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        &event_names(query.event_type),
        &statuses[..],
        query.batch_id,
        MAX_OF_STATUS,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}
