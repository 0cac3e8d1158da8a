//! Sites, as admins see them.

use chrono::NaiveDate;
use sqlx::PgConnection;

use super::auth::SiteScope;
use crate::platform::{
    db::{Db, StatementTimeout},
    error::{Error, Result},
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
    /// The business date in the sandbox.
    pub sandbox_date: Option<NaiveDate>,
}

/// Lists the sites, ordered by id.
pub async fn list(db: &Db, scope: SiteScope) -> Result<Vec<Site>> {
    sqlx::query_as!(
        Site,
        "select id, name, timezone, runtime_mode as mode,
                case when runtime_mode = 'sandbox' then sandbox_date end as sandbox_date
         from biz.sites
         where $1::bigint is null or id = $1 order by id",
        scope.site_id(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// Locks a site until the end of the transaction. Begins of runs wait: they lock their site, too.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub(crate) async fn lock(tx: &mut PgConnection, site_id: i64) -> Result<()> {
    sqlx::query!(
        "select from biz.sites where id = $1 for no key update",
        site_id
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    Ok(())
}

/// Keeps a site from being deleted until the end of the transaction.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub(crate) async fn keep(tx: &mut PgConnection, site_id: i64) -> Result<()> {
    sqlx::query!(
        "select id from biz.sites where id = $1 for key share",
        site_id
    )
    .fetch_optional(tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    Ok(())
}
