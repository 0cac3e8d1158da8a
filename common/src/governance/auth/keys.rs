//! Machine keys: tokens of programs, each for a few routes (docs/decisions/0029).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use super::SiteScope;
use crate::platform::{
    db::{Db, StatementTimeout},
    error::{Error, Result},
    words::words,
};

/// The start of each key. A JWT starts with `e`, so one comparison tells them apart.
const PREFIX: &str = "parlor_";

words! {
    /// What a machine key may call.
    pub enum KeyScope {
        /// `POST /api/admin/ai/trigger-jobs`.
        JobsWrite = "jobs:write",
        /// `GET /api/admin/ai/usage` and `GET /api/admin/ai/latency`.
        UsageRead = "usage:read",
    }
}

/// A valid machine key.
#[derive(Debug)]
pub struct MachineKey {
    pub(crate) id: i64,
    /// The admin.
    pub(crate) created_by: i64,
    pub(crate) reach: SiteScope,
    scopes: Vec<String>,
}

impl MachineKey {
    /// # Errors
    /// [`Error::Forbidden`] if the key does not have the scope.
    pub(crate) fn require(&self, scope: KeyScope) -> Result<()> {
        if self.scopes.iter().any(|word| word == scope.name()) {
            Ok(())
        } else {
            Err(Error::Forbidden)
        }
    }
}

/// True if a token is a machine key and not a JWT.
pub(super) fn is_key(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// A new key with 256 random bits.
pub(crate) fn generate() -> Result<SecretString> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|err| Error::Internal("no random numbers".into(), Some(err.into())))?;
    let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
    Ok(text.into())
}

/// The hash under which a key is stored.
pub(crate) fn hash(key: &SecretString) -> Vec<u8> {
    hash_of(key.expose_secret())
}

fn hash_of(key: &str) -> Vec<u8> {
    Sha256::digest(key).to_vec()
}

/// Finds a key by the hash of the whole token, and notes its use. Writes `last_used_at` at most
/// once a minute, so that most requests only read.
///
/// # Errors
/// [`Error::Unauthorized`] if the key is unknown, expired or revoked.
pub(super) async fn find(db: &Db, token: &str) -> Result<MachineKey> {
    let row = sqlx::query!(
        r#"
        with found as (
            select id, site_id, created_by, scopes::text[] as scopes from biz.api_keys
            where hash = $1 and (expires_at is null or expires_at > now())
        ), used as (
            update biz.api_keys k set last_used_at = now() from found
            where k.id = found.id and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute')
        )
        select id, site_id, created_by, scopes as "scopes!" from found
        "#,
        hash_of(token),
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?
    .ok_or(Error::Unauthorized("key is unknown, expired or revoked"))?;
    Ok(MachineKey {
        id: row.id,
        created_by: row.created_by,
        reach: row.site_id.map_or(SiteScope::All, SiteScope::One),
        scopes: row.scopes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_have_256_bits_after_their_prefix() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        let text = one.expose_secret();
        assert!(is_key(text) && !is_key("eyJhbGciOiJIUzI1NiJ9.e30.x"));
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]);
        assert_eq!(bytes.unwrap().len(), 32);
        assert_eq!(hash(&one), hash_of(text));
    }
}
