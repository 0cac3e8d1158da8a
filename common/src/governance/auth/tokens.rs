//! Access tokens. The business backend signs them; Parlor signs them only locally and in tests.

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

/// Allowed clock difference, in seconds.
const LEEWAY: u64 = 30;

/// Minimum length of a secret, in bytes. HS256 needs a key of 256 bits or more (RFC 7518, 3.2).
pub(super) const MIN_SECRET: usize = 32;

/// The claims of a token.
///
/// `role` and `nickname` are not read: the database has the current values, and no value in the
/// token makes it invalid. `site_id` is read and must be equal to the user's.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// User id.
    pub sub: String,
    /// `None` for a platform admin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_id: Option<i64>,
    /// When the token was signed.
    #[serde(skip_deserializing)]
    pub role: String,
    /// When the token was signed.
    #[serde(skip_deserializing)]
    pub nickname: String,
    /// Must be `access`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Seconds since 1970. Checked by [`JwtSecrets::verify`], but not read into this field: in a
    /// token it may have a fraction.
    #[serde(skip_deserializing)]
    pub exp: i64,
}

const NAME: &str = "JWT_SECRET";
const PREVIOUS_NAME: &str = "JWT_SECRET_PREVIOUS";

/// A secret is shorter than 32 bytes. Contains the name of its variable.
#[derive(Debug, thiserror::Error)]
#[error("{0} is too short: expected at least {MIN_SECRET} bytes")]
pub struct SecretTooShort(&'static str);

/// The secrets that sign tokens: the current one and, during a rotation, the previous one.
#[derive(Clone)]
pub struct JwtSecrets(Arc<[DecodingKey]>);

impl JwtSecrets {
    /// # Errors
    /// [`SecretTooShort`] if a secret is shorter than 32 bytes.
    pub fn new(
        current: &SecretString,
        previous: Option<&SecretString>,
    ) -> Result<Self, SecretTooShort> {
        let key = |name, secret: &SecretString| {
            let bytes = secret.expose_secret().as_bytes();
            if bytes.len() < MIN_SECRET {
                return Err(SecretTooShort(name));
            }
            Ok(DecodingKey::from_secret(bytes))
        };
        let mut keys = vec![key(NAME, current)?];
        if let Some(previous) = previous {
            keys.push(key(PREVIOUS_NAME, previous)?);
        }
        Ok(Self(keys.into()))
    }

    /// Checks the signature, algorithm, times and type of a token.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the token is invalid.
    pub fn verify(&self, token: &str) -> Result<Claims> {
        let TokenData { header, claims } = self
            .decode(token)
            .map_err(|_| Error::Unauthorized("token is invalid"))?;
        // RFC 7515, 4.1.11: a token with an unknown extension in `crit` must be rejected.
        if header.crit.is_some() {
            return Err(Error::Unauthorized("token requires an extension"));
        }
        if claims.kind == "access" {
            Ok(claims)
        } else {
            Err(Error::Unauthorized("not an access token"))
        }
    }

    /// True if only the signature is wrong and `exp` is in the future. The token may then be
    /// signed with a newer secret.
    pub(super) fn fails_only_by_signature(&self, token: &str) -> bool {
        let decoded = self.decode(token);
        decoded.is_err_and(|err| is_about_signature(&err)) && has_unverified_future_expiry(token)
    }

    /// Decodes with the first secret that matches. If none does, an error that is not about the
    /// signature takes precedence.
    fn decode(&self, token: &str) -> Result<TokenData<Claims>, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        let mut error = ErrorKind::InvalidSignature.into();
        for key in &*self.0 {
            match jsonwebtoken::decode(token, key, &validation) {
                Err(err) if is_about_signature(&err) => {}
                Err(err) => error = err,
                decoded => return decoded,
            }
        }
        Err(error)
    }
}

impl JwtSecrets {
    /// Reads `JWT_SECRET` and `JWT_SECRET_PREVIOUS`.
    ///
    /// If `JWT_SECRET_ARN` is set, reads the versions `AWSCURRENT` and, if it exists,
    /// `AWSPREVIOUS`. Both are read again when a token matches neither, as are files.
    ///
    /// # Errors
    /// Names the variable that is missing or cannot be read.
    pub async fn from_env(env: &Env) -> Result<RotatingSecret<Self>, ConfigError> {
        env.rotating(NAME, env::REREAD_PAUSE, |env| Box::pin(jwt_secrets(env)))
            .await
    }
}

async fn jwt_secrets(env: Env) -> Result<JwtSecrets, ConfigError> {
    let arn_name = env::secret_arn_name(NAME);
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
        None => (env.secret(NAME).await?, env.own_secret(PREVIOUS_NAME)?),
    };
    JwtSecrets::new(&current, previous.as_ref()).map_err(|SecretTooShort(name)| {
        let is_from_arn = env.text(&arn_name).is_some();
        ConfigError::Invalid {
            name: if is_from_arn {
                arn_name
            } else {
                env.source_of(name)
            },
            expected: "at least 32 bytes",
        }
    })
}

fn is_about_signature(err: &jsonwebtoken::errors::Error) -> bool {
    matches!(err.kind(), ErrorKind::InvalidSignature)
}

/// True if the token's `exp` is in the future. The signature is not checked.
fn has_unverified_future_expiry(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Expiry {
        exp: f64,
    }
    let now = u32::try_from(clock::now().timestamp()).map_or(f64::MAX, f64::from);
    jsonwebtoken::dangerous::insecure_decode_claims::<Expiry>(token)
        .is_ok_and(|claims| claims.exp > now)
}

/// Signs an access token, for local use and tests. In the cloud the business backend signs.
/// Returns `None` if the token cannot be encoded.
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
