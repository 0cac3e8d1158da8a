//! Extractors of the caller. A handler without one of them has no site to work on.

use axum::extract::{FromRef, FromRequestParts};
use http::{header::AUTHORIZATION, request::Parts};

use super::QueryText;
use crate::{
    governance::auth::{Admin, Caller, Callers, PlatformAdmin, SITE_ID, SiteScope, User},
    platform::error::{Error, Result},
};

impl Admin {
    /// The site of a request without a body, from the query parameter `site_id`.
    ///
    /// # Errors
    /// As [`Admin::site`], and [`Error::Invalid`] if `site_id` is not a positive integer.
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
        // A platform admin has no site, so no chats.
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

/// Authenticates the caller, who must be approved, and adds the user id to the log span.
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
    // A gateway might check one token while this code checks the other.
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

impl<S> FromRequestParts<S> for PlatformAdmin
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Self::of(&Admin::from_request_parts(parts, state).await?)
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

fn site_id(query: &QueryText) -> Result<Option<i64>> {
    query.integer(SITE_ID, 1, i64::MAX)
}
