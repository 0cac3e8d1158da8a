//! A moderation service of the operator: one signed request per text.

use std::sync::OnceLock;

use hmac::{Hmac, Mac as _};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Failure, Outcome, Text, Verdict, body, invalid};
use crate::platform::{
    env::{ConfigError, Env},
    http_client,
};

/// The name in `MODERATION` and in verdicts.
pub(super) const NAME: &str = "http";

/// The header with the signature: `sha256=` and the HMAC-SHA256 of the body, in hexadecimal.
const SIGNATURE: &str = "x-parlor-signature";
/// Size limit of a response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    text: &'a str,
    direction: &'static str,
    site_id: i64,
    user_id: i64,
}

#[derive(Deserialize)]
struct Response {
    action: Action,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Allow,
    Block,
}

pub(super) struct Http {
    url: Url,
    secret: SecretString,
    client: OnceLock<Client>,
}

impl Http {
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        const URL: &str = "MODERATION_HTTP_URL";
        let url = env.text(URL).ok_or(ConfigError::Missing(URL))?;
        Ok(Self {
            url: http_url(URL, url)?,
            secret: env.secret("MODERATION_HTTP_SECRET").await?,
            client: OnceLock::new(),
        })
    }

    pub async fn check(&self, text: Text<'_>) -> Result<Verdict, Failure> {
        let request = Request {
            text: text.content,
            direction: text.direction.name(),
            site_id: text.subject.site_id,
            user_id: text.subject.user_id,
        };
        let request = serde_json::to_vec(&request).map_err(|_| Failure::Unreadable)?;
        let response = client(&self.client)?
            .post(self.url.clone())
            .header(SIGNATURE, signature(&self.secret, &request))
            .header(::http::header::CONTENT_TYPE, "application/json")
            .body(request)
            .send()
            .await?;
        if response.status() != ::http::StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let response = body(response, MAX_RESPONSE).await?;
        let response: Response =
            serde_json::from_slice(&response).map_err(|_| Failure::Unreadable)?;
        let result = match response.action {
            Action::Allow => Outcome::Allow,
            Action::Block => Outcome::Block,
        };
        Ok(Verdict::new(NAME, result).described(response.labels, None))
    }
}

fn signature(secret: &SecretString, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        unreachable!("HMAC takes a key of any length");
    };
    mac.update(body);
    format!("sha256={:x}", mac.finalize().into_bytes())
}

/// An http or https URL.
pub(super) fn http_url(name: &'static str, url: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(url).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| invalid(name, "an http or https URL"))
}

/// The client of a service, built at the first request, which keeps a cold start short. The time
/// limit is that of the check.
pub(super) fn client(cell: &OnceLock<Client>) -> Result<&Client, Failure> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let builder = http_client::client().map_err(|_| Failure::Unreadable)?;
    let client = builder.build()?;
    Ok(cell.get_or_init(|| client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let signed = signature(&"Jefe".into(), b"what do ya want for nothing?");
        assert_eq!(
            signed,
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
