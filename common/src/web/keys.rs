//! Routes that machine keys may call. A route declares its scope in the type of an argument:
//! `OrKey<Admin, JobsWrite>`. Every other extractor of a caller refuses keys with 403.

use std::marker::PhantomData;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use super::{
    QueryText,
    extractors::{ScopeAndActor, bearer, site_id},
};
use crate::{
    governance::auth::{Admin, Callers, KeyScope, MachineKey, SiteScope},
    platform::error::{Error, Result},
};

/// A scope as a type.
pub trait RouteScope {
    /// The scope that a key needs.
    const SCOPE: KeyScope;
}

/// `jobs:write`
#[derive(Debug)]
pub struct JobsWrite;

/// `usage:read`
#[derive(Debug)]
pub struct UsageRead;

impl RouteScope for JobsWrite {
    const SCOPE: KeyScope = KeyScope::JobsWrite;
}

impl RouteScope for UsageRead {
    const SCOPE: KeyScope = KeyScope::UsageRead;
}

/// The caller `T`, or a machine key with the scope `S` in its place.
#[derive(Debug)]
pub struct OrKey<T, S>(pub T, pub PhantomData<S>);

/// Access that a machine key may have in place of a user.
pub trait KeyAccess: Sized {
    /// The access of a key whose scope was checked.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the request names a site that the key may not access.
    fn of_key(key: &MachineKey, query: &QueryText) -> Result<Self>;
}

impl KeyAccess for Admin {
    fn of_key(key: &MachineKey, _: &QueryText) -> Result<Self> {
        Ok(Self::of_key(key))
    }
}

impl KeyAccess for SiteScope {
    fn of_key(key: &MachineKey, query: &QueryText) -> Result<Self> {
        Admin::of_key(key).scope(site_id(query)?)
    }
}

impl KeyAccess for ScopeAndActor {
    fn of_key(key: &MachineKey, query: &QueryText) -> Result<Self> {
        Ok(Self {
            scope: SiteScope::of_key(key, query)?,
            actor: Admin::of_key(key).actor(),
        })
    }
}

impl<State, T, S> FromRequestParts<State> for OrKey<T, S>
where
    State: Send + Sync,
    Callers: FromRef<State>,
    T: KeyAccess + FromRequestParts<State, Rejection = Error>,
    S: RouteScope,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self> {
        let key = Callers::from_ref(state)
            .identify_key(bearer(parts)?)
            .await?;
        let access = match key {
            None => T::from_request_parts(parts, state).await?,
            Some(key) => {
                let span = tracing::Span::current();
                span.record("api_key_id", key.id);
                span.record("site_id", key.reach.site_id());
                key.require(S::SCOPE)?;
                let Ok(query) = QueryText::from_request_parts(parts, state).await;
                T::of_key(&key, &query)?
            }
        };
        Ok(Self(access, PhantomData))
    }
}
