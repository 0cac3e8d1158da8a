//! Access control. The token identifies the user; the database decides whether the user is
//! approved.

mod admin;
mod keys;
mod tokens;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tokio::time::Instant;

use crate::platform::{
    db::{Db, StatementTimeout},
    error::{Error, Result},
    secrets::RotatingSecret,
    words::words,
};

pub(crate) use admin::Reader;
pub use admin::{Actor, Admin, PlatformAdmin, SITE_ID, SiteScope};
pub use keys::{KeyScope, MachineKey};
pub(crate) use keys::{generate, hash};
pub use tokens::{Claims, JwtSecrets, SecretTooShort, sign};

/// How long an approved user is cached. A user who is disabled keeps access for this long.
pub(crate) const CACHED_FOR: Duration = Duration::from_secs(30);
/// Users in the cache of one instance.
const CACHED_USERS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

words! {
    /// The role of a user, as in the column `role`.
    pub enum Role {
        /// Chats like `staff`, and reads the desk of its site without texts.
        Viewer = "viewer",
        Coach = "coach",
        Staff = "staff",
        Manager = "manager",
        /// Administers the AI of one site.
        SiteAdmin = "site_admin",
        /// Administers all sites. Belongs to no site.
        Admin = "admin",
    }
}

/// A row of `biz.users`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct User {
    pub id: i64,
    /// `None` for a platform admin.
    pub site_id: Option<i64>,
    pub nickname: String,
    pub role: Role,
    /// True if the status is `approved`. Other users have no access.
    pub approved: bool,
}

/// Reads a user by id.
pub async fn find_user(db: &Db, id: i64) -> Result<Option<User>> {
    let row = sqlx::query!(
        "select id, site_id, nickname, role, status from biz.users where id = $1",
        id
    )
    .fetch_optional(db)
    .with_statement_timeout()
    .await?;
    row.map(|row| {
        Ok(User {
            id: row.id,
            site_id: row.site_id,
            nickname: row.nickname,
            role: Role::from_sql(&row.role, "biz.users")?,
            approved: row.status == "approved",
        })
    })
    .transpose()
}

/// Authenticates callers by their token. Clones share the cache of approved users.
#[derive(Clone)]
pub struct Callers {
    secrets: RotatingSecret<JwtSecrets>,
    db: Db,
    /// Approved users by id, and when each was read.
    cached: Arc<Mutex<LruCache<i64, (Instant, User)>>>,
}

impl Callers {
    /// Starts with an empty cache.
    pub fn new(secrets: impl Into<RotatingSecret<JwtSecrets>>, db: Db) -> Self {
        Self {
            secrets: secrets.into(),
            db,
            cached: Arc::new(Mutex::new(LruCache::new(CACHED_USERS))),
        }
    }

    /// Returns the machine key of a token, or `None` if the token is not a key.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the key is unknown, expired or revoked.
    pub(crate) async fn identify_key(&self, token: &str) -> Result<Option<MachineKey>> {
        if keys::is_key(token) {
            keys::find(&self.db, token).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// Returns the approved user of a token.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::NotApproved`], and [`Error::Forbidden`] for a valid
    /// machine key: routes for keys call `identify_key` first.
    pub async fn identify(&self, token: &str) -> Result<User> {
        if self.identify_key(token).await?.is_some() {
            return Err(Error::Forbidden);
        }
        let claims = self.verify(token).await?;
        let id = claims
            .sub
            .parse()
            .map_err(|_| Error::Unauthorized("subject is not a user id"))?;
        let user = self.approved_user(id).await?;
        if user.site_id == claims.site_id {
            Ok(user)
        } else {
            Err(Error::NotApproved)
        }
    }

    /// Verifies a token. Reloads the secrets if the token may be signed with a newer one.
    async fn verify(&self, token: &str) -> Result<Claims> {
        let secrets = self.secrets.get();
        let verified = secrets.verify(token);
        if verified.is_err()
            && secrets.fails_only_by_signature(token)
            && let Some(secrets) = self.secrets.refresh_after_rejection(&secrets).await
        {
            return secrets.verify(token);
        }
        verified
    }

    /// Only approved users are cached, so that an approval takes effect at once.
    async fn approved_user(&self, id: i64) -> Result<User> {
        let cached = self
            .cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some((since, user)) = cached
            && since.elapsed() < CACHED_FOR
        {
            return Ok(user);
        }
        let read_at = Instant::now();
        let user = find_user(&self.db, id)
            .await?
            .filter(|user| user.approved)
            .ok_or(Error::NotApproved)?;
        self.cached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(id, (read_at, user.clone()));
        Ok(user)
    }
}

/// An approved member of a site's staff. Handlers take it as an argument, which authenticates the
/// request.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Caller {
    /// The tenant. Statements filter by it.
    pub site_id: i64,
    pub user_id: i64,
    pub nickname: String,
    /// From the database, not from the token.
    pub role: Role,
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::{tokens::MIN_SECRET, *};
    use crate::platform::db::{self, DatabaseConfig};

    /// Identifies a user who was cached `age` ago, while the database is unreachable.
    async fn identify_cached(age: Duration) -> Result<User> {
        let secret = SecretString::from("x".repeat(MIN_SECRET));
        let url = SecretString::from("postgres://127.0.0.1:1/none");
        let config = DatabaseConfig {
            url: url.into(),
            max_connections: 1,
            behind_proxy: false,
        };
        let callers = Callers::new(
            JwtSecrets::new(&secret, None).unwrap(),
            db::connect_lazy(&config).unwrap(),
        );
        let user = staff();
        let read_at = Instant::now().checked_sub(age).unwrap();
        callers
            .cached
            .lock()
            .unwrap()
            .put(user.id, (read_at, user.clone()));
        let token = sign(&secret, &user, Duration::from_secs(60)).unwrap();
        callers.identify(&token).await
    }

    #[tokio::test]
    async fn an_approval_is_cached_for_thirty_seconds() {
        assert!(identify_cached(Duration::from_secs(20)).await.is_ok());
        let expired = identify_cached(Duration::from_secs(31)).await;
        assert!(matches!(expired, Err(Error::Unavailable(_))));
    }

    fn staff() -> User {
        User {
            id: 7,
            site_id: Some(1),
            nickname: String::new(),
            role: Role::Staff,
            approved: true,
        }
    }

    fn secret(fill: &str) -> SecretString {
        SecretString::from(fill.repeat(MIN_SECRET))
    }

    fn token(secret: &SecretString, valid_for: Duration) -> String {
        sign(secret, &staff(), valid_for).unwrap()
    }

    #[test]
    fn only_an_unexpired_token_with_an_unknown_key_reloads_the_secrets() {
        let secrets = JwtSecrets::new(&secret("a"), Some(&secret("b"))).unwrap();
        let young = Duration::from_secs(60);
        assert!(secrets.fails_only_by_signature(&token(&secret("c"), young)));
        for known in ["a", "b"] {
            assert!(!secrets.fails_only_by_signature(&token(&secret(known), young)));
        }
        assert!(!secrets.fails_only_by_signature(&token(&secret("c"), Duration::ZERO)));
        let altered = token(&secret("c"), young).replacen('.', ".x", 1);
        for token in ["", "a.b.c", &*altered] {
            assert!(!secrets.fails_only_by_signature(token), "{token}");
        }
    }
}
