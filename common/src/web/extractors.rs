//! Who calls, taken from the request: a handler that takes none of these has no site to work on.

use axum::extract::{FromRef, FromRequestParts};
use http::{header::AUTHORIZATION, request::Parts};

use super::QueryText;
use crate::{
    governance::auth::{Admin, Caller, Callers, SITE_ID, SiteScope, User},
    platform::error::{Error, Result},
};

impl Admin {
    /// The site that a query without a body names with `site_id`.
    ///
    /// # Errors
    /// As [`Admin::site`], and [`Error::Invalid`] where it is no id.
    pub fn site_in(&self, query: &QueryText) -> Result<i64> {
        self.site(site_id(query)?)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let user = identified(parts, state).await?;
        // A platform admin belongs to no site, and so has no chats.
        let site_id = user.site_id.ok_or(Error::Forbidden)?;
        tracing::Span::current().record("site_id", site_id);
        Ok(Self {
            site_id,
            user_id: user.id,
            nickname: user.nickname,
            role: user.role,
        })
    }
}

/// The approved user who calls, whom the request's log line then names.
async fn identified<S>(parts: &Parts, state: &S) -> Result<User>
where
    Callers: FromRef<S>,
{
    let user = Callers::from_ref(state).identify(bearer(parts)?).await?;
    tracing::Span::current().record("user_id", user.id);
    Ok(user)
}

fn bearer(parts: &Parts) -> Result<&str> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Error::Unauthorized("no token"))?;
    // A gateway may have checked the one and we the other.
    if values.next().is_some() {
        return Err(Error::Unauthorized("more than one token"));
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Error::Unauthorized("not a bearer token"))?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Error::Unauthorized("not a bearer token"))
    }
}

impl<S> FromRequestParts<S> for Admin
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let admin = Self::of(&identified(parts, state).await?)?;
        if let SiteScope::One(site_id) = admin.reach {
            tracing::Span::current().record("site_id", site_id);
        }
        Ok(admin)
    }
}

impl<S> FromRequestParts<S> for SiteScope
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let admin = Admin::from_request_parts(parts, state).await?;
        let Ok(query) = QueryText::from_request_parts(parts, state).await;
        admin.scope(site_id(&query)?)
    }
}

/// The site that is asked for, if one is.
fn site_id(query: &QueryText) -> Result<Option<i64>> {
    query.integer(SITE_ID, 1, i64::MAX)
}
