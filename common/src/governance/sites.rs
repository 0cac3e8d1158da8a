//! Sites, as admins see them.

use super::auth::SiteScope;
use crate::platform::{
    db::{Db, StatementTimeout},
    error::Result,
};

/// A site.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Site {
    pub id: i64,
    pub name: String,
    /// A name of the time zone database, such as `Asia/Shanghai`.
    pub timezone: String,
    /// `live` or `sandbox`.
    pub mode: String,
}

/// Lists the sites, ordered by id.
pub async fn list(db: &Db, scope: SiteScope) -> Result<Vec<Site>> {
    sqlx::query_as!(
        Site,
        "select id, name, timezone, runtime_mode as mode from biz.sites
         where $1::bigint is null or id = $1 order by id",
        scope.site_id(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}
