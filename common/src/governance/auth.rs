//! Who may call: the token says who somebody claims to be, the database whether they may.

mod admin;
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

pub use admin::{Admin, SITE_ID, SiteScope};
pub use tokens::{Claims, JwtSecrets, sign};

/// How long an approval may be remembered: for so long a disabled user may go on.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many users one instance remembers.
const REMEMBERED_USERS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

words! {
    /// Role of a user, as the column `role` spells it.
    pub enum Role {
        Coach = "coach",
        Staff = "staff",
        Manager = "manager",
        /// Administers the AI of one site.
        SiteAdmin = "site_admin",
        /// Administers the platform; belongs to no site.
        Admin = "admin",
    }
}

/// A row of `biz.users`.
#[derive(Clone, Debug)]
pub struct User {
    /// Id.
    pub id: i64,
    /// None for a platform admin.
    pub site_id: Option<i64>,
    /// What to call them.
    pub nickname: String,
    /// What they may do.
    pub role: Role,
    /// Whether they may do anything.
    pub approved: bool,
}

/// Reads one user.
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

/// Tells who calls. A clone shares what is remembered.
#[derive(Clone)]
pub struct Callers {
    secrets: RotatingSecret<JwtSecrets>,
    db: Db,
    remembered: Arc<Mutex<LruCache<i64, (Instant, User)>>>,
}

impl Callers {
    /// Nobody is remembered yet.
    pub fn new(secrets: impl Into<RotatingSecret<JwtSecrets>>, db: Db) -> Self {
        Self {
            secrets: secrets.into(),
            db,
            remembered: Arc::new(Mutex::new(LruCache::new(REMEMBERED_USERS))),
        }
    }

    /// The approved user behind a token.
    pub(crate) async fn identify(&self, token: &str) -> Result<User> {
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

    /// What a token says, if need be under a secret that was rotated in since this instance began.
    async fn verify(&self, token: &str) -> Result<Claims> {
        let secrets = self.secrets.get();
        let verified = secrets.verify(token);
        if verified.is_err()
            && secrets.may_not_know(token)
            && let Some(secrets) = self.secrets.refresh_after_rejection(&secrets).await
        {
            return secrets.verify(token);
        }
        verified
    }

    /// Only approvals are remembered, so that a new one is seen at once.
    async fn approved_user(&self, id: i64) -> Result<User> {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some((since, user)) = remembered
            && since.elapsed() < REMEMBERED
        {
            return Ok(user);
        }
        let asked = Instant::now();
        let user = find_user(&self.db, id)
            .await?
            .filter(|user| user.approved)
            .ok_or(Error::NotApproved)?;
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(id, (asked, user.clone()));
        Ok(user)
    }
}

/// An approved member of a site's staff. A handler that takes one cannot forget to ask who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Tenant: a part of every statement.
    pub site_id: i64,
    /// User.
    pub user_id: i64,
    /// What to call them.
    pub nickname: String,
    /// From the table, not from the token.
    pub role: Role,
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::{tokens::MIN_SECRET, *};
    use crate::platform::db::{self, DatabaseConfig};

    /// Somebody whose approval was read so long ago, where no database can be asked again.
    async fn identified(ago: Duration) -> Result<User> {
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
        let asked = Instant::now().checked_sub(ago).unwrap();
        callers
            .remembered
            .lock()
            .unwrap()
            .put(user.id, (asked, user.clone()));
        let token = sign(&secret, &user, Duration::from_secs(60)).unwrap();
        callers.identify(&token).await
    }

    #[tokio::test]
    async fn an_approval_is_believed_for_thirty_seconds_and_then_read_again() {
        assert!(identified(Duration::from_secs(20)).await.is_ok());
        let asked_again = identified(Duration::from_secs(31)).await;
        assert!(matches!(asked_again, Err(Error::Unavailable(_))));
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
    fn only_a_token_that_would_hold_but_for_its_key_may_be_of_an_unknown_secret() {
        let secrets = JwtSecrets::new(&secret("a"), Some(&secret("b"))).unwrap();
        let young = Duration::from_secs(60);
        assert!(secrets.may_not_know(&token(&secret("c"), young)));
        for known in ["a", "b"] {
            assert!(!secrets.may_not_know(&token(&secret(known), young)));
        }
        assert!(!secrets.may_not_know(&token(&secret("c"), Duration::ZERO)));
        let altered = token(&secret("c"), young).replacen('.', ".x", 1);
        for token in ["", "a.b.c", &*altered] {
            assert!(!secrets.may_not_know(token), "{token}");
        }
    }
}
