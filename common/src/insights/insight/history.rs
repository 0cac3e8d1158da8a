//! Earlier results of the target of an insight.

use super::{Insight, State};
use crate::{
    governance::{apps::App, auth::Caller},
    insights::{access, results::Target},
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Result},
    },
};

/// Number of results.
const MOST: i64 = 10;

pub(super) async fn history(db: &Db, caller: &Caller, id: i64) -> Result<Vec<Insight>> {
    if !caller.role.is_manager() {
        return Err(Error::Forbidden);
    }
    let rows = sqlx::query!(
        r#"
        select c.id, c.cache_type, c.target_id, c.result_json as "result!", c.score, c.created_at, c.expires_at, c.prompt_version,
               c.status = 'valid' and is_result_valid(c, site_today($1)) as "is_valid!",
               (select f.rating::text from biz.ai_feedback f
                where f.site_id = $1 and f.user_id = $4 and f.subject_type = 'insight' and f.subject_id = c.id) as rating
        from biz.ai_cache asked
        join biz.ai_cache c on c.site_id = $1 and c.cache_type = asked.cache_type and c.target_id = asked.target_id
        where asked.id = $2 and asked.site_id = $1 and asked.status in ('valid', 'expired') and c.status in ('valid', 'expired')
        order by c.id desc limit $3
        "#,
        caller.site_id,
        id,
        MOST,
        caller.user_id,
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await?;
    if rows.is_empty() {
        return Err(Error::NotFound);
    }
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let app = App::from_sql(&row.cache_type, "biz.ai_cache")?;
        let target = Target::parse(app, &row.target_id)?;
        if !access::may_read(caller, target.subject()) {
            return Err(Error::Forbidden);
        }
        found.push(Insight {
            id: Some(row.id),
            app,
            target,
            state: if row.is_valid {
                State::Ready
            } else {
                State::Missing
            },
            stale: !row.is_valid,
            result: Some(row.result),
            score: row.score,
            generated_at: Some(row.created_at),
            expires_at: row.expires_at,
            prompt_version: row.prompt_version,
            rating: row.rating,
            job_id: None,
        });
    }
    Ok(found)
}
