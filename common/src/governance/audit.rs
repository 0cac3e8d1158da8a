//! The audit log: which admin changed what, and when.

use chrono::{DateTime, Utc};
use futures_util::Stream;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    governance::auth::{Actor, SiteScope, User},
    platform::{
        dates::DateRange,
        db::{Db, StatementTimeout},
        error::Result,
        export::{self, Rows},
        paging::{MAX_COUNTED, Page, PageStart, Paging, Start, TimeKey},
        words::words,
    },
};

words! {
    /// What an admin did, as in the API and the column `action`.
    pub enum Action {
        SetBudget = "budget.set",
        SetQuota = "quota.set",
        SetRuntimeContext = "runtime_context.set",
        AcknowledgeAlert = "alert.acknowledge",
        IgnoreAlert = "alert.ignore",
        CreateTriggerJob = "trigger_job.create",
        RetryTriggerJob = "trigger_job.retry",
        CancelTriggerJob = "trigger_job.cancel",
        RunTriggerJobNow = "trigger_job.run_now",
        RetryTriggerJobs = "trigger_jobs.retry",
        CancelTriggerJobs = "trigger_jobs.cancel",
        Prewarm = "prewarm.queue",
        EstimateBatch = "batch.estimate",
        ConfirmBatch = "batch.confirm",
        CancelBatch = "batch.cancel",
        InvalidateCache = "cache.invalidate",
        BlockMessage = "message.block",
        UnblockMessage = "message.unblock",
        ResolveReport = "report.resolve",
        SetPrice = "price.set",
        CreateChannel = "notification_channel.create",
        SetChannel = "notification_channel.set",
        DeleteChannel = "notification_channel.delete",
        TestChannel = "notification_channel.test",
        ReadRun = "run.read",
        SignIn = "console.sign_in",
        SignOut = "console.sign_out",
        ExportRuns = "run_logs.export",
        ExportFeedback = "feedback.export",
        ExportUsage = "usage.export",
        ExportAudit = "audit.export",
        DeleteUserData = "user_data.delete",
        SetUser = "user.set",
        SetApp = "app.set",
        CreateAgent = "agent.create",
        SetAgent = "agent.set",
        DeleteAgent = "agent.delete",
        CreateBot = "bot.create",
        SetBot = "bot.set",
        DeleteBot = "bot.delete",
        SetOpeners = "openers.set",
        CreateApiKey = "api_key.create",
        DeleteApiKey = "api_key.delete",
        CreateModerationWord = "moderation_word.create",
        DeleteModerationWord = "moderation_word.delete",
    }
}

/// Writes a row of the audit log, in the transaction that makes the change. All audit rows are
/// written here. Without a site, the change is for all sites.
pub(crate) async fn record(
    tx: &mut PgConnection,
    action: Action,
    site_id: impl Into<Option<i64>>,
    actor: impl Into<Actor>,
    object_id: Option<&str>,
    details: Value,
) -> Result<()> {
    let actor = actor.into();
    sqlx::query!(
        "insert into biz.ai_admin_audit (site_id, user_id, api_key_id, action, object_id, details)
         values ($1, $2, $3, $4, $5, $6)",
        site_id.into(),
        actor.user_id,
        actor.api_key_id,
        action.name(),
        object_id,
        details,
    )
    .execute(tx)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// Writes that a user signed in to the console or out.
pub async fn record_session(db: &Db, action: Action, user: &User) -> Result<()> {
    sqlx::query!(
        "insert into biz.ai_admin_audit (site_id, user_id, action, details) values ($1, $2, $3, '{}')",
        user.site_id,
        user.id,
        action.name(),
    )
    .execute(db)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// Writes that a user exported a list: one row for each site in the table, so that the admin of the
/// site sees it.
pub(crate) async fn record_export(
    db: &Db,
    action: Action,
    scope: SiteScope,
    actor: impl Into<Actor>,
    details: Value,
) -> Result<()> {
    let actor = actor.into();
    sqlx::query!(
        "insert into biz.ai_admin_audit (site_id, user_id, api_key_id, action, details)
         select s.id, $2, $5, $3, $4 from biz.sites s where $1::bigint is null or s.id = $1 order by s.id",
        scope.site_id(),
        actor.user_id,
        action.name(),
        details,
        actor.api_key_id,
    )
    .execute(db)
    .with_statement_timeout()
    .await?;
    Ok(())
}

/// A row of the audit log.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Entry {
    pub id: i64,
    /// `None`: a change for all sites.
    pub site_id: Option<i64>,
    /// The admin.
    pub user_id: i64,
    /// The machine key that made the change. `user_id` is then the admin who created it.
    pub api_key_id: Option<i64>,
    /// A word of [`Action`].
    pub action: String,
    /// Id of the changed object, such as a run or a message, if the action has one.
    pub object_id: Option<String>,
    /// The parameters of the action and its effect.
    pub details: Value,
    pub created_at: DateTime<Utc>,
}

impl Entry {
    /// The sort key in the list.
    fn key(&self) -> TimeKey {
        (self.created_at.timestamp_micros(), self.id)
    }
}

/// Filters of the audit log.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct AuditQuery {
    pub scope: SiteScope,
    pub action: Option<Action>,
    /// The admin.
    pub user_id: Option<i64>,
    /// When the change was made.
    pub dates: DateRange,
}

impl AuditQuery {
    /// The scope of cursors of this list. A cursor is valid only in its own scope.
    pub fn cursor_scope(&self) -> String {
        let Self {
            scope,
            action,
            user_id,
            dates,
        } = self;
        format!("audit/{scope:?}/{action:?}/{user_id:?}/{dates}")
    }
}

/// Lists the audit log, newest first.
pub async fn list(db: &Db, query: &AuditQuery, paging: &Paging<TimeKey>) -> Result<Page<Entry>> {
    let start = Start::of(paging.from);
    // The left join returns one row with the total even if the page is empty.
    let rows = sqlx::query!(
        r#"
        with days as materialized (
            select began_at, ended_at from date_range($1, $2, $3, $4, $5)
        ), sites (id) as materialized (
            select s.id from biz.sites s where $1::bigint is null or s.id = $1
        ), counted (total) as (
            select count(*) from (
                (select from sites s cross join lateral (
                    select from biz.ai_admin_audit a
                    where a.site_id = s.id and ($6::text is null or a.action = $6) and ($7::bigint is null or a.user_id = $7)
                      and a.created_at >= (select began_at from days) and a.created_at < (select ended_at from days)
                    order by a.created_at desc limit $8::bigint + 1
                ) each)
                union all
                -- Changes for all sites.
                (select from biz.ai_admin_audit a
                 where $1::bigint is null and a.site_id is null and ($6::text is null or a.action = $6) and ($7::bigint is null or a.user_id = $7)
                   and a.created_at >= (select began_at from days) and a.created_at < (select ended_at from days)
                 order by a.created_at desc limit $8::bigint + 1)
                limit $8::bigint + 1
            ) few
        )
        select counted.total as "total!", a.id as "id?", a.site_id, a.user_id as "user_id?", a.api_key_id,
               a.action as "action?", a.object_id, a.details as "details?", a.created_at as "created_at?"
        from counted left join lateral (
            select each.* from (
                select of_site.* from sites s cross join lateral (
                    select * from biz.ai_admin_audit a
                    where a.site_id = s.id and ($6::text is null or a.action = $6) and ($7::bigint is null or a.user_id = $7)
                      and a.created_at >= (select began_at from days) and a.created_at < (select ended_at from days)
                      and (a.created_at, a.id) < (coalesce($9, 'infinity'::timestamptz), coalesce($10::bigint, 0))
                    order by a.created_at desc, a.id desc limit $11::bigint + $12::bigint
                ) of_site
                union all
                (select * from biz.ai_admin_audit a
                 where $1::bigint is null and a.site_id is null and ($6::text is null or a.action = $6) and ($7::bigint is null or a.user_id = $7)
                   and a.created_at >= (select began_at from days) and a.created_at < (select ended_at from days)
                   and (a.created_at, a.id) < (coalesce($9, 'infinity'::timestamptz), coalesce($10::bigint, 0))
                 order by a.created_at desc, a.id desc limit $11::bigint + $12::bigint)
            ) each
            order by each.created_at desc, each.id desc limit $11 offset $12
        ) a on true
        order by a.created_at desc, a.id desc
        "#,
        query.scope.site_id(),
        query.dates.from_day(),
        query.dates.from_at(),
        query.dates.to_day(),
        query.dates.to_at(),
        query.action.map(Action::name),
        query.user_id,
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
    let entries = rows.into_iter().filter_map(|row| {
        let entry = Entry {
            id: row.id?,
            site_id: row.site_id,
            user_id: row.user_id?,
            api_key_id: row.api_key_id,
            action: row.action?,
            object_id: row.object_id,
            details: row.details?,
            created_at: row.created_at?,
        };
        Some((entry.key(), entry))
    });
    Ok(Page::counted(
        total,
        entries,
        paging.size,
        &query.cursor_scope(),
    ))
}

/// Rows per page of an export.
const PAGE: i64 = 1_000;

/// Exports the audit log, newest first. Rows that are added during the export are not included. The
/// audit log records the user.
pub async fn export(
    db: Db,
    query: AuditQuery,
    user_id: i64,
) -> Result<impl Stream<Item = Result<Vec<Entry>>> + Send> {
    let details = json!({
        "action": query.action.map(Action::name),
        "dates": query.dates.to_string(),
    });
    record_export(&db, Action::ExportAudit, query.scope, user_id, details).await?;
    let next = move |start: Start| {
        let db = db.clone();
        async move {
            let key = start.before.zip(start.before_id);
            let key = key.map(|(before, id)| (before.timestamp_micros(), id));
            let paging = Paging {
                page: 1,
                size: PAGE,
                from: key.map_or(PageStart::Offset(0), PageStart::Key),
            };
            let found = list(&db, &query, &paging).await?;
            Ok(Rows::of(found.items, PAGE, Entry::key))
        }
    };
    export::pages(next).await
}
