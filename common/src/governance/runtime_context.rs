//! The runtime context: which date and time a site has.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::json;

use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, SiteScope},
    },
    platform::{
        dates,
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
    },
};

/// The clock of a site: live, or pinned to a day so that staging and demos are repeatable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeClock {
    /// `live` or `sandbox`.
    pub mode: String,
    /// The site's current date; in the sandbox, the pinned date.
    pub business_date: NaiveDate,
    /// The current time. In the sandbox, `business_date` with the real time of day.
    pub now: DateTime<Utc>,
    /// IANA name of the site's time zone.
    pub timezone: String,
}

/// Returns the clock of a site.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub async fn runtime(db: &Db, site_id: i64) -> Result<RuntimeClock> {
    sqlx::query_as!(
        RuntimeClock,
        r#"
        select runtime_mode as mode, timezone, business_date(runtime_mode, sandbox_date, timezone) as "business_date!",
               (business_date(runtime_mode, sandbox_date, timezone) + (now() at time zone timezone)::time)
                   at time zone timezone as "now!"
        from biz.sites where id = $1
        "#,
        site_id,
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)
}

/// The first digits of a valid year. There is no business data of other centuries.
const CENTURY: &str = "20";

/// Whether a site's business date is today or pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The business date is today.
    Live,
    /// The business date is this day.
    Sandbox(NaiveDate),
}

impl Mode {
    /// Parses a mode. `sandbox` requires a date; `live` ignores it.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the name of the field.
    pub fn parse(mode: Option<&str>, sandbox_date: Option<&str>) -> Result<Self> {
        const DATE: &str = "sandbox_date";
        match mode.ok_or(Error::invalid("mode", Reason::Missing))? {
            "live" => Ok(Self::Live),
            "sandbox" => {
                let text = sandbox_date.ok_or(Error::invalid(DATE, Reason::Missing))?;
                dates::day(text)
                    .filter(|_| text.starts_with(CENTURY))
                    .map(Self::Sandbox)
                    .ok_or(Error::invalid(DATE, Reason::NotADate))
            }
            _ => Err(Error::invalid("mode", Reason::Unknown)),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox(_) => "sandbox",
        }
    }

    const fn sandbox_date(self) -> Option<NaiveDate> {
        match self {
            Self::Live => None,
            Self::Sandbox(day) => Some(day),
        }
    }
}

/// The clock settings of a site, for admins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct RuntimeContext {
    pub site_id: i64,
    /// `live` or `sandbox`.
    pub mode: String,
    /// The business date in the sandbox.
    pub sandbox_date: Option<NaiveDate>,
    /// The admin who last changed the settings.
    pub updated_by: Option<i64>,
    pub updated_at: Option<DateTime<Utc>>,
}

/// Returns the clock settings of the sites, ordered by site id.
pub async fn contexts(db: &Db, scope: SiteScope) -> Result<Vec<RuntimeContext>> {
    sqlx::query_as!(
        RuntimeContext,
        r#"
        select id as site_id, runtime_mode as mode, sandbox_date, runtime_updated_by as updated_by, runtime_updated_at as updated_at
        from biz.sites where $1::bigint is null or id = $1 order by id
        "#,
        scope.site_id(),
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// Sets the clock of a site. Takes effect immediately.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist.
pub async fn set_context(
    db: &Db,
    admin: &Admin,
    site_id: i64,
    mode: Mode,
) -> Result<RuntimeContext> {
    let mut tx = db.transaction().await?;
    let before = sqlx::query!(
        "select runtime_mode, sandbox_date from biz.sites where id = $1 for no key update",
        site_id,
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let after = sqlx::query_as!(
        RuntimeContext,
        r#"
        update biz.sites set
            runtime_mode = $2, sandbox_date = $3, runtime_updated_by = $4, runtime_updated_at = clock_timestamp()
        where id = $1
        returning id as site_id, runtime_mode as mode, sandbox_date, runtime_updated_by as updated_by, runtime_updated_at as updated_at
        "#,
        site_id,
        mode.name(),
        mode.sandbox_date(),
        admin.user_id,
    )
    .fetch_one(&mut *tx)
    .with_statement_timeout()
    .await?;
    let details = json!({
        "before": { "mode": before.runtime_mode, "sandbox_date": before.sandbox_date },
        "after": { "mode": after.mode, "sandbox_date": after.sandbox_date },
    });
    let action = Action::SetRuntimeContext;
    audit::record(&mut tx, action, site_id, admin.user_id, None, details).await?;
    tx.commit().await?;
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_requires_a_date_of_this_century_and_live_ignores_it() {
        let pinned = NaiveDate::from_ymd_opt(2026, 5, 1).unwrap();
        assert_eq!(
            Mode::parse(Some("sandbox"), Some("2026-05-01")).unwrap(),
            Mode::Sandbox(pinned)
        );
        assert_eq!(
            Mode::parse(Some("live"), Some("2026-05-01")).unwrap(),
            Mode::Live
        );
        let error = |mode, date| match Mode::parse(mode, date) {
            Err(Error::Invalid { field, reason }) => (field.into_owned(), reason),
            other => panic!("{other:?}"),
        };
        for date in [
            "",
            "1999-12-31",
            "2026-02-30",
            "2026-5-1",
            "20260501",
            "0001-01-01",
        ] {
            let result = error(Some("sandbox"), Some(date));
            assert_eq!(
                result,
                ("sandbox_date".to_owned(), Reason::NotADate),
                "{date}"
            );
        }
        assert_eq!(
            error(Some("sandbox"), None),
            ("sandbox_date".to_owned(), Reason::Missing)
        );
        assert_eq!(error(None, None), ("mode".to_owned(), Reason::Missing));
        assert_eq!(
            error(Some("LIVE"), None),
            ("mode".to_owned(), Reason::Unknown)
        );
    }
}
