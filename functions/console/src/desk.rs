//! What every page of the desk needs: the user, its sites, the language, links and formats.

use std::{
    fmt::{Display, Write as _},
    ops::Deref,
};

use askama::Template;
use axum::{
    extract::{FromRef, FromRequestParts},
    response::Response,
};
use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use chrono_tz::Tz;
use common::{
    Error, Result,
    governance::{
        auth::{Callers, Role, SITE_ID, SiteScope, User},
        sites::{self, Site},
    },
    platform::db::Db,
    web::{ErrorInWords, QueryText, ReadAccess, Texts},
};
use http::{StatusCode, request::Parts};

use crate::{
    error_pages,
    format::{self, Choice, Given, in_url},
    frame::{Frame, below_console},
    language::Language,
    session, words,
};

/// The zone of pages about all sites.
const ZONE_OF_ALL: &str = "Asia/Shanghai";

/// The caller of a page of the desk, and how the page is shown. Coaches, staff and managers have no
/// access.
pub(crate) struct Desk {
    pub user: User,
    /// The sites that the page reads.
    pub scope: SiteScope,
    pub texts: Texts,
    pub query: QueryText,
    pub frame: Frame,
    /// The sites from which a platform admin may choose. Only the own site for others.
    pub sites: Vec<Site>,
    /// The path below `/console`, such as `runs` or `runs/7`. Empty for the dashboard.
    page: String,
    /// The parameters as pairs, decoded, in their order.
    parameters: Vec<(String, String)>,
    zone: Tz,
    now: DateTime<Utc>,
    /// Why a form of the page failed.
    pub problem: Option<String>,
    status: StatusCode,
}

impl<S> FromRequestParts<S> for Desk
where
    S: Send + Sync,
    Db: FromRef<S>,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let ReadAccess { user, scope, texts } =
            ReadAccess::from_request_parts(parts, state).await?;
        let Ok(query) = QueryText::from_request_parts(parts, state).await;
        let db = Db::from_ref(state);
        let reach = user.site_id.map_or(SiteScope::All, SiteScope::One);
        let sites = sites::list(&db, reach).await?;
        let path = parts.uri.path();
        let zone = match scope {
            SiteScope::One(id) => {
                let site = sites.iter().find(|site| site.id == id);
                &*site.ok_or(Error::NotFound)?.timezone
            }
            SiteScope::All => ZONE_OF_ALL,
        };
        Ok(Self {
            zone: zone.parse().unwrap_or(Tz::UTC),
            parameters: query.pairs(),
            page: below_console(path).trim_start_matches('/').to_owned(),
            frame: Frame::of(&parts.headers, path),
            now: common::platform::clock::now(),
            problem: None,
            status: StatusCode::OK,
            user,
            scope,
            texts,
            query,
            sites,
        })
    }
}

impl Deref for Desk {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.frame
    }
}

/// A page in the navigation.
pub(crate) struct Place {
    pub path: &'static str,
    pub text: &'static str,
    pub is_current: bool,
}

impl Desk {
    /// Renders a page.
    pub fn show(&self, page: &impl Template) -> Result<Response> {
        error_pages::html(self.status, page)
    }

    /// Notes why a form failed, so that its page is shown again with the reason.
    ///
    /// # Errors
    /// Returns an error that the user cannot correct.
    pub fn fail(&mut self, error: Error) -> Result<()> {
        let words = ErrorInWords::of(&error, self.language == Language::English);
        if words.status.is_server_error() || words.status == StatusCode::FORBIDDEN {
            return Err(error);
        }
        self.status = words.status;
        self.problem = Some(words.sentence);
        Ok(())
    }

    /// As [`Self::fail`], for a form with `expected`, the number that the page showed. If another
    /// number matches now, the reason has both numbers, and the number of now is returned.
    ///
    /// # Errors
    /// As [`Self::fail`].
    pub fn fail_expecting(&mut self, error: Error, form: &QueryText) -> Result<Option<i64>> {
        let Error::OtherNumber { matching } = error else {
            self.fail(error)?;
            return Ok(None);
        };
        self.fail(error)?;
        if let Some(shown) = form.integer("expected", 0, i64::MAX)? {
            self.problem = Some(format::other_number(self.language, shown, matching));
        }
        Ok(Some(matching))
    }

    /// True for users who may change something on the desk.
    pub fn may_change(&self) -> bool {
        matches!(self.user.role, Role::SiteAdmin | Role::Admin)
    }

    /// True for a platform admin.
    pub fn is_of_platform(&self) -> bool {
        self.user.role == Role::Admin
    }

    /// True if the page is about all sites.
    pub fn shows_all_sites(&self) -> bool {
        self.scope == SiteScope::All
    }

    /// The link to a page of the console, such as `runs?status=failed`. It keeps the chosen site.
    pub fn to(&self, page: impl Display) -> String {
        let page = page.to_string();
        let mut link = if page.is_empty() || page.starts_with('?') {
            // The dashboard has no slash at its end.
            match &*self.root {
                "console" => format!("console{page}"),
                root => format!("{root}/../console{page}"),
            }
        } else {
            format!("{}/{page}", self.root)
        };
        let names_a_site = page.contains("site_id=");
        if self.is_of_platform()
            && !names_a_site
            && let SiteScope::One(id) = self.scope
        {
            let mark = if page.contains('?') { '&' } else { '?' };
            let _ = write!(link, "{mark}{SITE_ID}={id}");
        }
        link
    }

    /// The link to a page about a site, for a list of all sites.
    pub fn to_site(&self, page: impl Display, site_id: impl Given<i64>) -> String {
        let (page, site_id) = (page.to_string(), site_id.given());
        if self.is_of_platform() {
            let mark = if page.contains('?') { '&' } else { '?' };
            self.to(format!("{page}{mark}{SITE_ID}={site_id}"))
        } else {
            self.to(page)
        }
    }

    /// The link to this page with another value of a parameter. An empty value removes it. The
    /// cursor is removed, too.
    pub fn with(&self, name: &str, value: impl Display) -> String {
        let value = value.to_string();
        let mut pairs: Vec<(&str, &str)> = self
            .parameters
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .filter(|(other, _)| *other != name && *other != "cursor" && *other != "page")
            .collect();
        if !value.is_empty() {
            pairs.push((name, &value));
        }
        let last = self.page.rsplit('/').next().unwrap_or_default();
        let last = if last.is_empty() { "console" } else { last };
        let query: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={}", in_url(value)))
            .collect();
        if query.is_empty() {
            last.to_owned()
        } else {
            format!("{last}?{}", query.join("&"))
        }
    }

    /// The link to the page of a list that begins at a cursor.
    pub fn at_cursor(&self, cursor: impl Display) -> String {
        self.with("cursor", cursor)
    }

    /// The current value of a parameter. Empty if there is none.
    pub fn value(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    /// True if a platform admin chose this site.
    pub fn is_chosen(&self, site_id: impl Given<i64>) -> bool {
        self.chosen_site() == Some(site_id.given())
    }

    /// The site that a platform admin chose, which the forms of filters keep.
    pub fn chosen_site(&self) -> Option<i64> {
        match self.scope {
            SiteScope::One(id) if self.is_of_platform() => Some(id),
            _ => None,
        }
    }

    /// This page, for `next` of the forms that change the language or sign in.
    pub fn here(&self) -> String {
        let last = self.with("", "");
        match self.page.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{last}"),
            None if self.page.is_empty() => format!("../{last}"),
            None => last,
        }
    }

    /// The options of a filter, in words. The first one means all.
    pub fn choices<'a>(
        &self,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Choice> {
        let current = self.value(name);
        let all = Choice {
            value: String::new(),
            text: self.common.all.to_owned(),
            is_chosen: current.is_empty(),
        };
        let others = values.into_iter().map(|value| Choice {
            value: value.to_owned(),
            text: self.word(value).to_owned(),
            is_chosen: value == current,
        });
        std::iter::once(all).chain(others).collect()
    }

    /// A word of the API, such as a status, in the language of the page.
    pub fn word<'a>(&self, word: &'a str) -> &'a str {
        words::in_language(self.language, word)
    }

    /// The name of a site.
    pub fn site_name(&self, id: impl Given<i64>) -> &str {
        let id = id.given();
        let site = self.sites.iter().find(|site| site.id == id);
        site.map_or("", |site| &site.name)
    }

    /// The sites of this page that are in the sandbox, with their date.
    pub fn in_sandbox(&self) -> Vec<(&str, NaiveDate)> {
        let shown = self
            .sites
            .iter()
            .filter(|site| self.scope.site_id().is_none_or(|id| id == site.id));
        shown
            .filter_map(|site| Some((&*site.name, site.sandbox_date?)))
            .collect()
    }

    /// A time in the zone of the site, to the second.
    pub fn time(&self, at: impl Given<DateTime<Utc>>) -> String {
        at.given()
            .with_timezone(&self.zone)
            .format("%Y-%m-%d %H:%M:%S")
            .to_string()
    }

    /// The time for programs, with its offset.
    pub fn machine_time(&self, at: impl Given<DateTime<Utc>>) -> String {
        let fixed: DateTime<FixedOffset> = at.given().with_timezone(&self.zone).fixed_offset();
        fixed.to_rfc3339()
    }

    /// When the page was requested.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// How long ago, or how far ahead.
    pub fn ago(&self, at: impl Given<DateTime<Utc>>) -> String {
        format::distance(self.language, at.given() - self.now)
    }

    /// The name of the zone.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The pages of the desk.
    pub fn places(&self) -> Vec<Place> {
        let t = self.common;
        let mut places = vec![
            ("", t.dashboard),
            ("runs", t.runs),
            ("alerts", t.alerts),
            ("jobs", t.jobs),
            ("batches", t.batches),
            ("results", t.results),
            ("prewarm", t.prewarm),
            ("budgets", t.budgets),
            ("usage", t.usage),
            ("feedback", t.feedback),
            ("reports", t.reports),
            ("apps", t.apps),
            ("runtime-context", t.runtime_context),
            ("bots", t.bots),
            ("users", t.users),
            ("channels", t.channels),
            ("api-keys", t.api_keys),
            ("audit", t.audit),
        ];
        if self.user.site_id.is_some() {
            places.push(("chat", t.chat));
        }
        let current = self.page.split('/').next().unwrap_or_default();
        places
            .into_iter()
            .map(|(path, text)| Place {
                path,
                text,
                is_current: path == current,
            })
            .collect()
    }

    /// Who is signed in.
    pub fn role(&self) -> &'static str {
        words::in_language(self.language, self.user.role.name())
    }

    /// Leads a user without access to the desk to the chat.
    pub fn leads_to_chat(user: &User) -> bool {
        !session::may_read_desk(user)
    }
}
