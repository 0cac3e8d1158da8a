//! Reads insights: one statement for all of a page.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

use crate::{
    governance::{
        apps::{App, AppIds},
        auth::Caller,
    },
    insights::results::Target,
    platform::{
        db::StatementTimeout,
        error::{Error, Result},
        words::words,
    },
};

words! {
    /// The state of an insight, as in the API.
    pub enum State {
        /// There is a valid result.
        Ready = "ready",
        /// A job generates the next result. The previous one is shown if there is one.
        Generating = "generating",
        /// There is no valid result.
        Missing = "missing",
        /// The app has no application at the site.
        Disabled = "disabled",
        /// There is no valid result, and the last job failed.
        Failed = "failed",
    }
}

/// An insight.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Insight {
    /// Id of the result. `None` if there is none to show.
    pub id: Option<i64>,
    pub app: App,
    pub target: Target,
    pub state: State,
    /// True if a newer result is being generated.
    pub stale: bool,
    /// The checked answer of the application.
    pub result: Option<Value>,
    /// From 1 to 10. `None` if the application does not score.
    pub score: Option<i32>,
    /// When the generation of the result started.
    pub generated_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub prompt_version: Option<String>,
    /// The caller's rating: `up` or `down`.
    pub rating: Option<String>,
    /// The job that generates the next result.
    pub(super) job_id: Option<i64>,
}

/// The insights of the caller's site, in the order of `items`.
pub(super) async fn list(
    db: impl PgExecutor<'_>,
    caller: &Caller,
    items: &[(App, Target)],
    app_ids: &AppIds,
) -> Result<Vec<Insight>> {
    let (apps, targets) = columns(items);
    let app_ids: Vec<_> = items.iter().map(|(app, _)| app_ids.find(*app)).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select (application_of($1, asked.app, asked.app_id)).app_id is null as "is_disabled!", making.job_id, making.is_leased as "is_leased!", failed.job_id is not null as "is_failed!",
               shown.id as "id?", shown.result_json as result, shown.score, shown.created_at as "created_at?", shown.expires_at, shown.prompt_version,
               (select f.rating::text from biz.ai_feedback f
                where f.site_id = $1 and f.user_id = $5 and f.subject_type = 'insight' and f.subject_id = shown.id) as rating
        from unnest($2::text[], $3::text[], $4::text[]) with ordinality asked (app, target, app_id, n)
        cross join lateral (
            select max(g.job_id) as job_id, count(*) > 0 as is_leased from biz.ai_cache g
            where g.site_id = $1 and g.cache_type = asked.app and g.target_id = asked.target and g.status = 'generating'
              and g.lease_until > clock_timestamp()
        ) making
        left join lateral (
            select c.id, c.result_json, c.score, c.created_at, c.expires_at, c.prompt_version from biz.ai_cache c
            where c.site_id = $1 and c.cache_type = asked.app and c.target_id = asked.target and c.status in ('valid', 'expired')
              and (making.is_leased or (c.status = 'valid' and is_result_valid(c, site_today($1))))
              and not exists (
                select from biz.ai_cache i
                where i.site_id = $1 and i.cache_type = asked.app and i.target_id = asked.target and i.id > c.id and i.status = 'invalidated')
            order by c.id desc limit 1
        ) shown on true
        left join biz.ai_result_failures failed
            on failed.site_id = $1 and failed.cache_type = asked.app and failed.target_id = asked.target
        order by asked.n
        "#,
        caller.site_id,
        &apps,
        &targets,
        &app_ids as _,
        caller.user_id,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    if rows.len() != items.len() {
        return Err(Error::internal(
            "the number of insights differs from the request",
        ));
    }
    let found = rows.into_iter().zip(items);
    Ok(found
        .map(|(row, (app, target))| row.insight(*app, target.clone()))
        .collect())
}

/// The values of the columns `cache_type` and `target_id`.
pub(super) fn columns(items: &[(App, Target)]) -> (Vec<String>, Vec<String>) {
    let columns = |(app, target): &(App, Target)| (app.name().to_owned(), target.id());
    items.iter().map(columns).unzip()
}

struct Row {
    id: Option<i64>,
    result: Option<Value>,
    score: Option<i32>,
    created_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    prompt_version: Option<String>,
    rating: Option<String>,
    job_id: Option<i64>,
    is_disabled: bool,
    is_leased: bool,
    is_failed: bool,
}

impl Row {
    fn insight(self, app: App, target: Target) -> Insight {
        let state = if self.is_disabled {
            State::Disabled
        } else if self.is_leased {
            State::Generating
        } else if self.id.is_some() {
            State::Ready
        } else if self.is_failed {
            State::Failed
        } else {
            State::Missing
        };
        Insight {
            id: self.id,
            app,
            target,
            state,
            stale: self.is_leased && self.id.is_some(),
            result: self.result,
            score: self.score,
            generated_at: self.created_at,
            expires_at: self.expires_at,
            prompt_version: self.prompt_version,
            rating: self.rating,
            job_id: self.job_id,
        }
    }
}
