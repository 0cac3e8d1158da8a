//! Access tokens: checked here, signed by the business backend (on a laptop and in tests: here, too).

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, errors::ErrorKind,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::User;
use crate::platform::{
    clock,
    env::{self, ConfigError, Env},
    error::{Error, Result},
    secrets::{RotatingSecret, SecretError, Version},
};

/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 30;

/// The shortest secret that is taken, in bytes: HS256 is no stronger than its key (RFC 7518, 3.2).
pub(super) const MIN_SECRET: usize = 32;

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
    pub(super) fn may_not_know(&self, token: &str) -> bool {
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

impl JwtSecrets {
    /// Reads `JWT_SECRET` and `JWT_SECRET_PREVIOUS`; with `JWT_SECRET_ARN`, the versions
    /// `AWSCURRENT` and, while there is one, `AWSPREVIOUS`, and both again when a token fits neither.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<RotatingSecret<Self>, ConfigError> {
        env.rotating("JWT_SECRET", env::REREAD_PAUSE, |env| {
            Box::pin(jwt_secrets(env))
        })
        .await
    }
}

async fn jwt_secrets(env: Env) -> Result<JwtSecrets, ConfigError> {
    let name = "JWT_SECRET";
    let arn_name = env::secret_arn_name(name);
    let (current, previous) = match env.text(&arn_name) {
        Some(arn) => {
            let (current, previous) = tokio::join!(
                env.secret_version(arn, Version::Current),
                env.secret_version(arn, Version::Previous)
            );
            let previous = match previous {
                Err(SecretError::NotFound) => Ok(None),
                other => other.map(Some),
            };
            let named = |source| ConfigError::Secret {
                name: arn_name.clone(),
                source,
            };
            (current.map_err(named)?, previous.map_err(named)?)
        }
        None => (
            env.secret(name).await?,
            env.text("JWT_SECRET_PREVIOUS").map(SecretString::from),
        ),
    };
    JwtSecrets::new(&current, previous.as_ref()).ok_or_else(|| ConfigError::Invalid {
        name: env.source_of(name),
        expected: "at least 32 bytes",
    })
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
