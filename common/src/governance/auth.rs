//! Who may call: the token says who somebody claims to be, the database whether they may.

mod admin;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::extract::{FromRef, FromRequestParts};
use http::{header::AUTHORIZATION, request::Parts};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, errors::ErrorKind,
};
use lru::LruCache;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    clock,
    db::{Bounded, Db},
    error::{Error, Result},
    secrets::Renewable,
};

pub use admin::{Admin, SiteScope};

/// How long an approval may be remembered: for so long a disabled user may go on.
const REMEMBERED: Duration = Duration::from_secs(30);
/// How many users one instance remembers.
const REMEMBERED_USERS: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 30;

/// The shortest secret that is taken, in bytes: HS256 is no stronger than its key (RFC 7518, 3.2).
const MIN_SECRET: usize = 32;

/// What somebody is at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Teaches and accompanies members.
    Coach,
    /// Works at the site.
    Staff,
    /// Runs the site.
    Manager,
    /// Administers the site's AI.
    SiteAdmin,
    /// Administers the platform; belongs to no site.
    Admin,
}

impl Role {
    /// As in the column `role`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coach => "coach",
            Self::Staff => "staff",
            Self::Manager => "manager",
            Self::SiteAdmin => "site_admin",
            Self::Admin => "admin",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [
            Self::Coach,
            Self::Staff,
            Self::Manager,
            Self::SiteAdmin,
            Self::Admin,
        ]
        .into_iter()
        .find(|role| role.name() == name)
    }
}

/// What a token says. Of what it says about the user only the site is read, to be compared:
/// role and name are the table's, so nothing that they may be makes a token fail.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// User id.
    pub sub: String,
    /// Absent for a platform admin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_id: Option<i64>,
    /// As it was when the token was made.
    #[serde(skip_deserializing)]
    pub role: String,
    /// As it was when the token was made.
    #[serde(skip_deserializing)]
    pub nickname: String,
    /// `access`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Seconds since 1970. [`JwtSecrets::verify`] has checked it, and does not say it again: in a
    /// token it may have a fraction.
    #[serde(skip_deserializing)]
    pub exp: i64,
}

/// The secrets that tokens may be signed with: the current one, and during a rotation the one before.
#[derive(Clone)]
pub struct JwtSecrets(Arc<[DecodingKey]>);

impl JwtSecrets {
    /// None when a secret is shorter than 32 bytes.
    pub fn new(current: &SecretString, previous: Option<&SecretString>) -> Option<Self> {
        let keys = std::iter::once(current).chain(previous).map(|secret| {
            let bytes = secret.expose_secret().as_bytes();
            (bytes.len() >= MIN_SECRET).then(|| DecodingKey::from_secret(bytes))
        });
        keys.collect::<Option<_>>().map(Self)
    }

    /// Checks signature, algorithm, times and type.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub fn verify(&self, token: &str) -> Result<Claims> {
        let TokenData { header, claims } = self
            .decode(token)
            .map_err(|_| Error::Unauthorized("token does not hold"))?;
        // RFC 7515, 4.1.11: whoever does not understand what it lists must refuse the token.
        if header.crit.is_some() {
            return Err(Error::Unauthorized("token asks for an extension"));
        }
        if claims.kind == "access" {
            Ok(claims)
        } else {
            Err(Error::Unauthorized("not an access token"))
        }
    }

    /// Whether it may be a secret that is not known which signed this token: none that is known did, and
    /// nothing else speaks against it.
    fn may_not_know(&self, token: &str) -> bool {
        let decoded = self.decode(token);
        decoded.is_err_and(|err| is_about_signature(&err)) && says_it_holds(token)
    }

    /// With the first secret that signed it; else the first failure that is not about the signature.
    fn decode(&self, token: &str) -> Result<TokenData<Claims>, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        let mut refusal = ErrorKind::InvalidSignature.into();
        for key in &*self.0 {
            match jsonwebtoken::decode(token, key, &validation) {
                Err(err) if is_about_signature(&err) => {}
                Err(err) => refusal = err,
                decoded => return decoded,
            }
        }
        Err(refusal)
    }
}

fn is_about_signature(err: &jsonwebtoken::errors::Error) -> bool {
    matches!(err.kind(), ErrorKind::InvalidSignature)
}

/// Whether a token says that it still holds, whoever signed it.
fn says_it_holds(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Expiry {
        exp: f64,
    }
    let now = u32::try_from(clock::now().timestamp()).map_or(f64::MAX, f64::from);
    jsonwebtoken::dangerous::insecure_decode_claims::<Expiry>(token)
        .is_ok_and(|said| said.exp > now)
}

/// Signs an access token. For the laptop and the tests: in the cloud the business backend signs.
pub fn sign(secret: &SecretString, user: &User, valid_for: Duration) -> Option<String> {
    let claims = Claims {
        sub: user.id.to_string(),
        site_id: user.site_id,
        role: user.role.name().to_owned(),
        nickname: user.nickname.clone(),
        kind: "access".to_owned(),
        exp: (clock::now() + valid_for).timestamp(),
    };
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).ok()
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
    .bounded()
    .await?;
    row.map(|row| {
        Ok(User {
            id: row.id,
            site_id: row.site_id,
            nickname: row.nickname,
            role: Role::parse(&row.role)
                .ok_or_else(|| Error::internal("unknown role in biz.users"))?,
            approved: row.status == "approved",
        })
    })
    .transpose()
}

/// Tells who calls. A clone shares what is remembered.
#[derive(Clone)]
pub struct Callers {
    secrets: Renewable<JwtSecrets>,
    db: Db,
    remembered: Arc<Mutex<LruCache<i64, (Instant, User)>>>,
}

impl Callers {
    /// Nobody is remembered yet.
    pub fn new(secrets: impl Into<Renewable<JwtSecrets>>, db: Db) -> Self {
        Self {
            secrets: secrets.into(),
            db,
            remembered: Arc::new(Mutex::new(LruCache::new(REMEMBERED_USERS))),
        }
    }

    /// The approved user behind a token.
    async fn identify(&self, token: &str) -> Result<User> {
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
            && let Some(secrets) = self.secrets.instead_of(&secrets).await
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

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::DatabaseConfig, db};

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
