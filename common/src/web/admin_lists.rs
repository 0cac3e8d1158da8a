//! Reads the filters of admin lists from the query.

use super::QueryText;
use crate::{
    governance::{
        alerts::{self, AlertQuery},
        apps::App,
        audit::{Action, AuditQuery},
        auth::SiteScope,
        feedback::{FeedbackQuery, Rating},
        runs::{self, RunFilters, RunQuery},
        usage::{GroupBy, UsageQuery},
    },
    insights::{
        apps,
        jobs::{self, EventType, JobFilter, JobQuery},
        results::{self, ResultQuery},
    },
    platform::{
        dates::DateRange,
        error::{Error, Reason, Result},
    },
};

impl DateRange {
    /// Reads `date_from` and `date_to`.
    ///
    /// # Errors
    /// As [`DateRange::new`].
    pub fn parse(query: &QueryText) -> Result<Self> {
        Self::new(query.text("date_from")?, query.text("date_to")?)
    }
}

impl AlertQuery {
    /// Reads filters, dates and `group`.
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        Ok(Self {
            scope,
            app: query.one_of("app_type", App::parse)?,
            alert_status: query.one_of("alert_status", alerts::Status::parse)?,
            dates: DateRange::parse(query)?,
            group: alert_group(query)?,
        })
    }
}

/// Reads `group`, which is `true` or `false`.
pub fn alert_group(query: &QueryText) -> Result<bool> {
    let group = query.one_of("group", |word| word.parse::<bool>().ok())?;
    Ok(group.unwrap_or_default())
}

impl AuditQuery {
    /// Reads filters and dates.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        Ok(Self {
            scope,
            action: query.one_of("action", Action::parse)?,
            user_id: query.integer("user_id", 1, i64::MAX)?,
            dates: DateRange::parse(query)?,
        })
    }
}

impl UsageQuery {
    /// Reads grouping and dates.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        let group_by = query.one_of("group_by", GroupBy::parse)?;
        Ok(Self {
            scope,
            group_by: group_by.unwrap_or(GroupBy::Day),
            dates: DateRange::parse(query)?,
        })
    }
}

impl FeedbackQuery {
    /// Reads filters and dates.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        Ok(Self {
            scope,
            rating: query.one_of("rating", Rating::parse)?,
            app: query.one_of("app_type", App::parse)?,
            prompt_version: query.text("prompt_version")?.map(str::to_owned),
            user_id: query.integer("user_id", 1, i64::MAX)?,
            dates: DateRange::parse(query)?,
        })
    }
}

impl RunFilters {
    fn parse(query: &QueryText) -> Result<Self> {
        let id = |name| query.integer(name, 1, i64::MAX);
        Ok(Self {
            app: query.one_of("app_type", App::parse)?,
            status: query.one_of("status", runs::Status::parse)?,
            trigger: query.one_of("trigger_type", runs::Trigger::parse)?,
            user_id: id("user_id")?,
            member_id: id("member_id")?,
            bot_id: query.uuid("bot_id")?,
            error_code: label(query, "error_code")?,
            prompt_version: label(query, "prompt_version")?,
            model_id: label(query, "model_id")?,
            min_latency_ms: query.integer("min_latency_ms", 0, i64::MAX)?,
        })
    }
}

/// Reads a text of 1 to 100 characters, if present.
fn label(query: &QueryText, name: &'static str) -> Result<Option<String>> {
    const MAX: usize = 100;
    match query.text(name)? {
        Some("") => Err(Error::invalid(name, Reason::Empty)),
        Some(text) if text.chars().count() > MAX => Err(Error::invalid(name, Reason::TooLong(MAX))),
        text => Ok(text.map(str::to_owned)),
    }
}

impl RunQuery {
    /// Reads filters and dates.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        Ok(Self {
            scope,
            filters: RunFilters::parse(query)?,
            dates: DateRange::parse(query)?,
        })
    }
}

impl JobQuery {
    /// Reads filters and dates.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        let JobFilter {
            event_type,
            status,
            batch_id,
            dates,
        } = JobFilter::parse(query)?;
        Ok(Self {
            scope,
            event_type,
            status,
            batch_id,
            dates,
        })
    }
}

impl JobFilter {
    /// Reads filters and dates.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(query: &QueryText) -> Result<Self> {
        Ok(Self {
            event_type: query.one_of("event_type", EventType::parse)?,
            status: query.one_of("status", jobs::Status::parse)?,
            batch_id: query.uuid("batch_id")?,
            dates: DateRange::parse(query)?,
        })
    }
}

impl ResultQuery {
    /// Reads filters.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(scope: SiteScope, query: &QueryText) -> Result<Self> {
        Ok(Self {
            scope,
            app: query.one_of("app_type", apps::find_background)?,
            target_id: query.text("target_id")?.map(str::to_owned),
            status: query.one_of("status", results::Status::parse)?,
        })
    }
}
