//! The rows of `biz.ai_apps`, as admins read and change them.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgExecutor;

use super::{App, AppIds};
use crate::{
    governance::{
        audit::{self, Action},
        auth::{Admin, SiteScope},
    },
    platform::{
        db::{Db, StatementTimeout},
        error::{Error, Reason, Result},
        words::words,
    },
};

/// Longest id of an application, in characters.
const MAX_ID: usize = 128;

/// Longest `rag_options`, in bytes of JSON.
const MAX_RAG_OPTIONS: usize = 8 * 1024;

words! {
    /// How a workflow application streams the output of its nodes, as in DashScope's API.
    pub enum FlowStreamMode {
        FullThoughts = "full_thoughts",
        AgentFormat = "agent_format",
        MessageFormat = "message_format",
        MessageFormatPlus = "message_format_plus",
    }
}

/// An app at a site, or by default at all sites. A `None` of the settings inherits.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// `None`: the default of all sites.
    pub site_id: Option<i64>,
    /// The word of the app.
    pub app_type: String,
    /// The end of the row's application id.
    pub application_id_hint: Option<String>,
    /// The end of the row's fallback.
    pub fallback_hint: Option<String>,
    /// False disables the app.
    pub enabled: Option<bool>,
    /// Sent with each request.
    pub rag_options: Option<Value>,
    /// A word of [`FlowStreamMode`].
    pub flow_stream_mode: Option<String>,
    /// Sent with each request.
    pub has_thoughts: Option<bool>,
    /// Until the first text of a streamed reply.
    pub first_token_seconds: Option<i32>,
    /// 100 if nothing is set.
    pub max_per_second: Option<i32>,
    /// The end of the application id that is called. `None`: the app is disabled.
    pub called_hint: Option<String>,
    /// State of that application's circuit.
    pub circuit: String,
    /// The newest call of the app at the site.
    pub last_call_at: Option<DateTime<Utc>>,
}

/// New settings. The two ids change only if they are given; a given `None` removes the id.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in AppSettings")]
pub struct AppChange {
    pub application_id: Option<Option<String>>,
    pub fallback_application_id: Option<Option<String>>,
    pub enabled: Option<bool>,
    pub rag_options: Option<Value>,
    pub flow_stream_mode: Option<FlowStreamMode>,
    pub has_thoughts: Option<bool>,
    pub first_token_seconds: Option<i32>,
    pub max_per_second: Option<i32>,
}

impl AppChange {
    /// Checks lengths and ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field.
    pub fn checked(self) -> Result<Self> {
        check_id("application_id", self.application_id.as_ref())?;
        check_id(
            "fallback_application_id",
            self.fallback_application_id.as_ref(),
        )?;
        in_range("first_token_seconds", self.first_token_seconds, 600)?;
        in_range("max_per_second", self.max_per_second, 100)?;
        if let Some(options) = &self.rag_options {
            let text = options.to_string();
            if !options.is_object() {
                return Err(Error::invalid("rag_options", Reason::Type));
            }
            if text.len() > MAX_RAG_OPTIONS {
                return Err(Error::invalid(
                    "rag_options",
                    Reason::TooLarge(MAX_RAG_OPTIONS),
                ));
            }
            if text.contains("\\u0000") {
                return Err(Error::invalid("rag_options", Reason::Nul));
            }
        }
        Ok(self)
    }
}

/// Checks the id of an application that a request sets.
///
/// # Errors
/// [`Error::Invalid`] if it is empty, too long, or has other characters than those of an id.
pub(crate) fn check_id(field: &'static str, id: Option<&Option<String>>) -> Result<()> {
    let Some(Some(id)) = id else { return Ok(()) };
    let reason = if id.is_empty() {
        Reason::Empty
    } else if id.len() > MAX_ID {
        Reason::TooLong(MAX_ID)
    } else if !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        Reason::NotPrintable
    } else {
        return Ok(());
    };
    Err(Error::invalid(field, reason))
}

fn in_range(field: &'static str, value: Option<i32>, most: i64) -> Result<()> {
    if value.is_some_and(|value| !(1..=most).contains(&value.into())) {
        return Err(Error::invalid(field, Reason::OutOfRange(1, most)));
    }
    Ok(())
}

/// Lists each app of each site, and for a platform admin the defaults of all sites first.
pub async fn list(db: &Db, scope: SiteScope, ids: &AppIds) -> Result<Vec<AppSettings>> {
    let rows = match scope {
        SiteScope::One(site_id) => Rows::OfSite(site_id),
        SiteScope::All => Rows::All,
    };
    read(db, rows, &App::ALL, ids).await
}

/// Which rows a statement reads.
#[derive(Clone, Copy)]
enum Rows {
    /// The defaults and the rows of all sites.
    All,
    Defaults,
    OfSite(i64),
}

impl Rows {
    const fn of(site_id: Option<i64>) -> Self {
        match site_id {
            Some(site_id) => Self::OfSite(site_id),
            None => Self::Defaults,
        }
    }
}

async fn read(
    db: impl PgExecutor<'_>,
    rows: Rows,
    apps: &[App],
    ids: &AppIds,
) -> Result<Vec<AppSettings>> {
    let words: Vec<&str> = apps.iter().map(|app| app.name()).collect();
    let environment: Vec<Option<&str>> = apps.iter().map(|app| ids.find(*app)).collect();
    let (with_defaults, with_sites, site_id) = match rows {
        Rows::All => (true, true, None),
        Rows::Defaults => (true, false, None),
        Rows::OfSite(site_id) => (false, true, Some(site_id)),
    };
    sqlx::query_as!(
        AppSettings,
        r#"
        select w.site_id, e.app_type as "app_type!", right(a.application_id, 4) as application_id_hint,
               right(a.fallback_application_id, 4) as fallback_hint, a.enabled, a.rag_options,
               a.flow_stream_mode as "flow_stream_mode: String", a.has_thoughts, a.first_token_seconds, a.max_per_second,
               right(x.app_id, 4) as called_hint, coalesce(c.state, 'closed') as "circuit!", u.last_call_at
        from (select null::bigint as site_id where $2
              union all
              select s.id from biz.sites s where $3 and ($1::bigint is null or s.id = $1)) w
        cross join unnest($4::text[], $5::text[]) with ordinality e (app_type, environment_id, place)
        left join lateral (
            select * from biz.ai_apps own where own.site_id = w.site_id and own.app_type = e.app_type
            union all
            select * from biz.ai_apps standard
            where w.site_id is null and standard.site_id is null and standard.app_type = e.app_type
        ) a on true
        cross join lateral application_of(w.site_id, e.app_type, e.environment_id) x
        left join biz.ai_circuits c on c.app_id = x.app_id
        left join lateral (
            select d.last_call_at from biz.ai_usage_daily d
            where d.site_id = w.site_id and d.app_type = e.app_type and d.last_call_at is not null
            order by d.day desc limit 1
        ) u on true
        order by w.site_id nulls first, e.place
        "#,
        site_id,
        with_defaults,
        with_sites,
        &words as &[&str],
        &environment as &[Option<&str>],
    )
    .fetch_all(db)
    .with_statement_timeout()
    .await
}

/// Changes the settings of an app at a site, or of the defaults of all sites. They apply to the
/// next call. `may_replace` sees the stored settings.
///
/// # Errors
/// [`Error::NotFound`] if the site does not exist. [`Error::Outdated`] if `may_replace` returns
/// false.
pub async fn set(
    db: &Db,
    admin: &Admin,
    site_id: Option<i64>,
    app: App,
    change: &AppChange,
    ids: &AppIds,
    may_replace: impl FnOnce(&AppSettings) -> bool + Send,
) -> Result<AppSettings> {
    let mut tx = db.transaction().await?;
    // The row may not exist yet, and a lock needs a row.
    let row_id = sqlx::query_scalar!(
        "insert into biz.ai_apps (site_id, app_type)
         select $1::bigint, $2::text where $1 is null or exists (select from biz.sites s where s.id = $1)
         on conflict on constraint ai_apps_site_id_app_type_key do update set app_type = excluded.app_type
         returning id",
        site_id,
        app.name(),
    )
    .fetch_optional(&mut *tx)
    .with_statement_timeout()
    .await?
    .ok_or(Error::NotFound)?;
    let rows = Rows::of(site_id);
    let before = read(&mut *tx, rows, &[app], ids).await?.pop();
    let before = before.ok_or(Error::NotFound)?;
    if !may_replace(&before) {
        return Err(Error::Outdated);
    }
    sqlx::query!(
        "update biz.ai_apps set
             application_id = case when $2 then $3 else application_id end,
             fallback_application_id = case when $4 then $5 else fallback_application_id end,
             enabled = $6, rag_options = $7, flow_stream_mode = $8::text, has_thoughts = $9,
             first_token_seconds = $10, max_per_second = $11, updated_at = clock_timestamp()
         where id = $1",
        row_id,
        change.application_id.is_some(),
        change.application_id.clone().flatten(),
        change.fallback_application_id.is_some(),
        change.fallback_application_id.clone().flatten(),
        change.enabled,
        change.rag_options,
        change.flow_stream_mode.map(FlowStreamMode::name),
        change.has_thoughts,
        change.first_token_seconds,
        change.max_per_second,
    )
    .execute(&mut *tx)
    .with_statement_timeout()
    .await?;
    let after = read(&mut *tx, rows, &[app], ids).await?.pop();
    let after = after.ok_or(Error::NotFound)?;
    let details = json!({ "before": before.audited(), "after": after.audited() });
    let (action, object_id) = (Action::SetApp, Some(app.name()));
    audit::record(&mut tx, action, site_id, admin.user_id, object_id, details).await?;
    tx.commit().await?;
    Ok(after)
}

impl AppSettings {
    /// The row, without whole application ids.
    fn audited(&self) -> Value {
        json!({
            "application_id_hint": self.application_id_hint,
            "fallback_hint": self.fallback_hint,
            "enabled": self.enabled,
            "rag_options": self.rag_options,
            "flow_stream_mode": self.flow_stream_mode,
            "has_thoughts": self.has_thoughts,
            "first_token_seconds": self.first_token_seconds,
            "max_per_second": self.max_per_second,
        })
    }
}
