//! Reads insights: one statement for all of a page.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;

use crate::{
    governance::apps::{App, AppIds},
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
        /// The application has no application id.
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
    /// The job that generates the next result.
    pub(super) job_id: Option<i64>,
}

/// The insights of a site, in the order of `items`.
pub(super) async fn list(
    db: impl PgExecutor<'_>,
    site_id: i64,
    items: &[(App, Target)],
    app_ids: &AppIds,
) -> Result<Vec<Insight>> {
    let apps: Vec<String> = items.iter().map(|(app, _)| app.name().to_owned()).collect();
    let targets: Vec<String> = items.iter().map(|(_, target)| target.id()).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select making.job_id, making.is_leased as "is_leased!", failed.job_id is not null as "is_failed!",
               shown.id as "id?", shown.result_json as result, shown.score, shown.created_at as "created_at?", shown.expires_at, shown.prompt_version
        from unnest($2::text[], $3::text[]) with ordinality asked (app, target, n)
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
        site_id,
        &apps,
        &targets,
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
        .map(|(row, (app, target))| row.insight(*app, target.clone(), app_ids))
        .collect())
}

struct Row {
    id: Option<i64>,
    result: Option<Value>,
    score: Option<i32>,
    created_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    prompt_version: Option<String>,
    job_id: Option<i64>,
    is_leased: bool,
    is_failed: bool,
}

impl Row {
    fn insight(self, app: App, target: Target, app_ids: &AppIds) -> Insight {
        let state = if app_ids.find(app).is_none() {
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
            job_id: self.job_id,
        }
    }
}
