//! What a user has used.

use crate::{
    governance::auth::Caller,
    platform::{
        db::{Db, StatementTimeout},
        error::Result,
    },
};

/// Tokens of a user, of the calls that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct OwnUsage {
    pub today: i64,
    /// With today.
    pub this_month: i64,
}

/// Returns the tokens of the caller on the site's calendar day and in its month. Also those of
/// conversations that were deleted since.
pub async fn own(db: &Db, caller: &Caller) -> Result<OwnUsage> {
    sqlx::query_as!(
        OwnUsage,
        r#"
        with today as materialized (
            select d, date_trunc('month', d)::date as first_of_month from local_day(zone_of($1)) d
        )
        select coalesce(sum(r.tokens_charged) filter (where r.local_day = t.d), 0)::bigint as "today!",
               coalesce(sum(r.tokens_charged), 0)::bigint as "this_month!"
        from today t
        left join biz.ai_run_logs r
            on r.user_id = $2 and r.site_id = $1 and r.local_day >= t.first_of_month
        "#,
        caller.site_id,
        caller.user_id,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await
}
