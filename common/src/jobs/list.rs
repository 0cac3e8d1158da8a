//! Jobs as admins look at them.

use crate::{
    auth::SiteScope,
    db::{Bounded, Db},
    error::Result,
};

/// Events of today that were the same as one before. Today is the site's real day; of all sites together,
/// Shanghai's.
pub async fn skipped_today(db: &Db, scope: SiteScope) -> Result<i64> {
    sqlx::query_scalar!(
        r#"
        with zone (name) as (
            select coalesce((select s.timezone from biz.sites s where s.id = $1), 'Asia/Shanghai')
        ), today (began_at) as (
            select biz.local_day(name)::timestamp at time zone name from zone
        )
        select count(*) as "skipped!" from biz.ai_trigger_jobs j
        where j.status = 'skipped_duplicate' and ($1::bigint is null or j.site_id = $1)
          and j.created_at >= (select began_at from today)
        "#,
        scope.site_id(),
    )
    .fetch_one(db)
    .bounded()
    .await
}
