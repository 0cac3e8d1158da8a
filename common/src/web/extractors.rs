//! Extractors of the caller. A handler without one of them has no site to work on.

use axum::extract::{FromRef, FromRequestParts};
use http::{header::AUTHORIZATION, request::Parts};

use super::{QueryText, viewer::HiddenTexts};
use crate::{
    governance::auth::{
        Actor, Admin, Caller, Callers, PlatformAdmin, Reader, Role, SITE_ID, SiteScope, User,
    },
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

    /// The site of a request with a body: from the body, or else from the query.
    ///
    /// # Errors
    /// As [`Admin::site_in`].
    pub fn site_of(&self, body: Option<i64>, query: &QueryText) -> Result<i64> {
        self.site(body.or(site_id(query)?))
    }
}

/// Any approved user. A handler that takes it checks the role itself.
impl<S> FromRequestParts<S> for User
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        identified(parts, state).await
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

pub(super) fn bearer(parts: &Parts) -> Result<&str> {
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
        let access = ReadAccess::from_request_parts(parts, state).await?;
        Ok(access.scope)
    }
}

/// An admin, or a viewer of a site, who may read like an admin. The response to a viewer gets no
/// texts.
async fn reader<S>(parts: &Parts, state: &S) -> Result<(User, Reader, Texts)>
where
    Callers: FromRef<S>,
{
    let user = identified(parts, state).await?;
    let reader = Reader::of(&user)?;
    if let Some(site_id) = user.site_id {
        tracing::Span::current().record("site_id", site_id);
    }
    let are_hidden = user.role == Role::Viewer;
    if are_hidden {
        let hidden = parts.extensions.get::<HiddenTexts>();
        hidden.ok_or(Error::internal("no boundary"))?.hide();
    }
    let texts = Texts {
        user_id: user.id,
        are_hidden,
    };
    Ok((user, reader, texts))
}

/// A reader of the desk: an admin, or a viewer of a site.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct ReadAccess {
    pub user: User,
    /// The sites that the request reads.
    pub scope: SiteScope,
    pub texts: Texts,
}

impl<S> FromRequestParts<S> for ReadAccess
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let (user, reader, texts) = reader(parts, state).await?;
        let Ok(query) = QueryText::from_request_parts(parts, state).await;
        Ok(Self {
            scope: reader.scope(site_id(&query)?)?,
            user,
            texts,
        })
    }
}

/// The sites that a request reads, and its user or machine key, for the audit log of exports.
#[derive(Clone, Copy, Debug)]
pub struct ScopeAndActor {
    /// The sites that the request reads.
    pub scope: SiteScope,
    /// The user, or the machine key.
    pub actor: Actor,
}

impl<S> FromRequestParts<S> for ScopeAndActor
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let access = ReadAccess::from_request_parts(parts, state).await?;
        Ok(Self {
            scope: access.scope,
            actor: access.user.id.into(),
        })
    }
}

/// Whether the caller sees prompts, answers and other texts, for tables and for the audit log. JSON
/// responses to a viewer lose their texts without it.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    /// The reader, for the audit log.
    pub user_id: i64,
    are_hidden: bool,
}

impl Texts {
    /// True for a viewer.
    pub const fn are_hidden(self) -> bool {
        self.are_hidden
    }

    /// The user, if it sees texts.
    pub fn seen_by(self) -> Option<i64> {
        (!self.are_hidden).then_some(self.user_id)
    }

    /// Requires that the caller sees texts.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a viewer.
    pub fn require(self) -> Result<()> {
        self.seen_by().map(drop).ok_or(Error::Forbidden)
    }
}

impl<S> FromRequestParts<S> for Texts
where
    S: Send + Sync,
    Callers: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Ok(reader(parts, state).await?.2)
    }
}

pub(super) fn site_id(query: &QueryText) -> Result<Option<i64>> {
    query.integer(SITE_ID, 1, i64::MAX)
}
