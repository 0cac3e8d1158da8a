//! `msgSecCheck` 2.0 of WeChat, and the access token that it needs.
//!
//! <https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/sec-center/sec-check/msgSecCheck.html>
//! <https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-access-token/getStableAccessToken.html>

use std::{
    sync::{OnceLock, PoisonError, RwLock},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Failure, OVERLAP, Outcome, Text, Verdict, Verdicts, body,
    http::{client, http_url},
};
use crate::platform::{
    db::{Db, StatementTimeout},
    env::{ConfigError, Env},
};

/// The name in `MODERATION` and in verdicts.
pub(super) const NAME: &str = "wechat";

const BASE_URL: &str = "https://api.weixin.qq.com";
/// Most characters of one call.
const MAX_CHARS: usize = 2_500;
/// Calls at once for one text.
const CONCURRENCY: usize = 4;
/// Comments. The others are profiles (1), forums (3) and social posts (4).
const SCENE: u8 = 2;
/// Size limit of a response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
/// A token is renewed this long before it expires.
const TOKEN_MARGIN: f64 = 60.0;
/// How long one instance may take to fetch a token, while the others wait.
const FETCH_LEASE: f64 = 3.0;
/// Pause before an instance looks again for a token that another one fetches.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The token is not valid, or has expired.
const BAD_TOKEN: [i64; 3] = [40001, 40014, 42001];
/// The openid is unknown, belongs to another app, or was not active in the last two hours.
const NOT_CHECKABLE: [i64; 3] = [40003, 43104, 61010];

#[derive(Serialize)]
struct Request<'a> {
    version: u8,
    scene: u8,
    openid: &'a str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    errcode: i64,
    result: Option<Judgement>,
    trace_id: Option<String>,
}

#[derive(Deserialize)]
struct Judgement {
    suggest: Suggest,
    label: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Suggest {
    Pass,
    Review,
    Risky,
}

#[derive(Deserialize)]
struct TokenResponse {
    #[serde(default)]
    errcode: i64,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    until: Instant,
}

pub(super) struct Wechat {
    db: Db,
    base_url: Url,
    app_id: String,
    secret: SecretString,
    client: OnceLock<Client>,
    token: RwLock<Option<Token>>,
}

impl Wechat {
    pub async fn from_env(env: &Env, db: &Db) -> Result<Self, ConfigError> {
        const APP_ID: &str = "WECHAT_APP_ID";
        const URL: &str = "WECHAT_BASE_URL";
        let app_id = env.text(APP_ID).ok_or(ConfigError::Missing(APP_ID))?;
        Ok(Self {
            db: db.clone(),
            base_url: http_url(URL, env.text(URL).unwrap_or(BASE_URL))?,
            app_id: app_id.to_owned(),
            secret: env.secret("WECHAT_APP_SECRET").await?,
            client: OnceLock::new(),
            token: RwLock::default(),
        })
    }

    pub async fn check(&self, text: Text<'_>) -> Result<Verdict, Failure> {
        let openid = text.subject.openid.get_or_try_init(|| async {
            sqlx::query_scalar!(
                "select openid from biz.users where id = $2 and site_id = $1",
                text.subject.site_id,
                text.subject.user_id,
            )
            .fetch_optional(&self.db)
            .with_statement_timeout()
            .await
            .map(Option::flatten)
        });
        let Some(openid) = openid.await.map_err(Failure::Database)? else {
            return Ok(Verdict::new(NAME, Outcome::Skipped));
        };
        let pieces = pieces(text.content).into_iter();
        // A `Vec`, because the compiler cannot prove a lazy iterator of futures to be `Send`.
        let checks: Vec<_> = pieces
            .map(|piece| self.check_piece(openid, piece))
            .collect();
        let mut checks = stream::iter(checks).buffer_unordered(CONCURRENCY);
        let mut worst = Verdicts::default();
        while let Some(verdict) = checks.next().await {
            let verdict = verdict?;
            let is_blocked = verdict.result == Outcome::Block;
            worst.add(verdict);
            if is_blocked {
                break;
            }
        }
        Ok(worst
            .0
            .pop()
            .unwrap_or_else(|| Verdict::new(NAME, Outcome::Allow)))
    }

    async fn check_piece(&self, openid: &str, content: &str) -> Result<Verdict, Failure> {
        let request = Request {
            version: 2,
            scene: SCENE,
            openid,
            content,
        };
        let token = self.token(None).await?;
        let mut response = self.ask(&token, &request).await?;
        if BAD_TOKEN.contains(&response.errcode) {
            let token = self.token(Some(&token)).await?;
            response = self.ask(&token, &request).await?;
        }
        let result = match (response.errcode, response.result) {
            (0, Some(result)) => result,
            (0, None) => return Err(Failure::Unreadable),
            (code, _) if NOT_CHECKABLE.contains(&code) => {
                return Ok(Verdict::new(NAME, Outcome::Skipped));
            }
            (code, _) => return Err(Failure::Wechat(code)),
        };
        let outcome = match result.suggest {
            Suggest::Pass => Outcome::Allow,
            Suggest::Review => Outcome::Review,
            Suggest::Risky => Outcome::Block,
        };
        let labels = result.label.iter().map(i64::to_string).collect();
        Ok(Verdict::new(NAME, outcome).described(labels, response.trace_id))
    }

    async fn ask(&self, token: &SecretString, request: &Request<'_>) -> Result<Response, Failure> {
        let mut url = self.url("/wxa/msg_sec_check")?;
        url.query_pairs_mut()
            .append_pair("access_token", token.expose_secret());
        self.post(url, request).await
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        self.base_url.join(path).map_err(|_| Failure::Unreadable)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        let response = client(&self.client)?.post(url).json(request).send().await?;
        if response.status() != ::http::StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        let body = body(response, MAX_RESPONSE).await?;
        serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)
    }

    /// A valid token other than `rejected`: from memory, from the table, or from WeChat.
    async fn token(&self, rejected: Option<&SecretString>) -> Result<SecretString, Failure> {
        let is_other = |token: &SecretString| {
            rejected.is_none_or(|rejected| rejected.expose_secret() != token.expose_secret())
        };
        loop {
            let known = self
                .token
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some(token) = known
                && token.until > Instant::now()
                && is_other(&token.text)
            {
                return Ok(token.text);
            }
            if let Some(token) = self.read_token().await?
                && is_other(&token.text)
            {
                self.keep(&token);
                return Ok(token.text);
            }
            if self.claim_fetch(rejected).await? {
                let token = self.fetch_token(rejected).await?;
                self.keep(&token);
                return Ok(token.text);
            }
            // The time limit of the check ends this loop.
            sleep(LOOK_AGAIN).await;
        }
    }

    fn keep(&self, token: &Token) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
    }

    async fn read_token(&self) -> Result<Option<Token>, Failure> {
        let row = sqlx::query!(
            r#"
            select access_token as "text!",
                   extract(epoch from expires_at - clock_timestamp())::double precision as "seconds!"
            from biz.wechat_tokens where app_id = $1 and expires_at > clock_timestamp()
            "#,
            self.app_id,
        )
        .fetch_optional(&self.db)
        .with_statement_timeout()
        .await
        .map_err(Failure::Database)?;
        Ok(row.map(|row| token(row.text, row.seconds)))
    }

    /// Returns true if this instance must fetch a token. Only one does at a time.
    async fn claim_fetch(&self, rejected: Option<&SecretString>) -> Result<bool, Failure> {
        let claimed = sqlx::query!(
            "insert into biz.wechat_tokens as t (app_id, fetching_until)
             values ($1, clock_timestamp() + make_interval(secs => $2))
             on conflict on constraint wechat_tokens_pkey do update set
                 fetching_until = excluded.fetching_until
             where t.fetching_until < clock_timestamp()
               and (t.expires_at is null or t.expires_at <= clock_timestamp() or t.access_token = $3)",
            self.app_id,
            FETCH_LEASE,
            rejected.map(ExposeSecret::expose_secret),
        )
        .execute(&self.db)
        .with_statement_timeout()
        .await
        .map_err(Failure::Database)?;
        Ok(claimed.rows_affected() > 0)
    }

    /// Fetches a token and shares it. WeChat returns the same token until it expires. It is asked
    /// for another one only if it returns the rejected token: that would invalidate a token that
    /// other systems of the operator use, and is allowed 20 times a day.
    async fn fetch_token(&self, rejected: Option<&SecretString>) -> Result<Token, Failure> {
        let mut fetched = self.stable_token(false).await?;
        if rejected.is_some_and(|rejected| rejected.expose_secret() == fetched.0) {
            fetched = self.stable_token(true).await?;
        }
        let (text, seconds) = fetched;
        sqlx::query!(
            "update biz.wechat_tokens set access_token = $2, fetching_until = '-infinity',
                 expires_at = clock_timestamp() + make_interval(secs => $3)
             where app_id = $1",
            self.app_id,
            text,
            seconds,
        )
        .execute(&self.db)
        .with_statement_timeout()
        .await
        .map_err(Failure::Database)?;
        Ok(token(text, seconds))
    }

    /// A token, and the seconds for which it may be used.
    async fn stable_token(&self, force_refresh: bool) -> Result<(String, f64), Failure> {
        let request = json!({
            "grant_type": "client_credential",
            "appid": self.app_id,
            "secret": self.secret.expose_secret(),
            "force_refresh": force_refresh,
        });
        let response: TokenResponse = self
            .post(self.url("/cgi-bin/stable_token")?, &request)
            .await?;
        match (response.errcode, response.access_token, response.expires_in) {
            (0, Some(text), Some(seconds)) if !text.contains('\0') => {
                Ok((text, (seconds - TOKEN_MARGIN).clamp(0.0, 7_200.0)))
            }
            (0, ..) => Err(Failure::Unreadable),
            (code, ..) => Err(Failure::Wechat(code)),
        }
    }
}

fn token(text: String, seconds: f64) -> Token {
    let left = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Token {
        text: text.into(),
        until: Instant::now() + left,
    }
}

/// Cuts a text into pieces for one call each. They overlap.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let Some((end, _)) = rest.char_indices().nth(MAX_CHARS) else {
            pieces.push(rest);
            return pieces;
        };
        pieces.push(&rest[..end]);
        let next = rest.char_indices().nth(MAX_CHARS - OVERLAP);
        rest = next.map_or("", |(at, _)| &rest[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_at_most_2500_characters_and_overlap() {
        assert_eq!(pieces("你好"), ["你好"]);
        let text: String = ('\u{4e00}'..).take(8_000).collect();
        let cut = pieces(&text);
        assert!(cut.iter().all(|piece| piece.chars().count() <= MAX_CHARS));
        let mut joined = cut[0].to_owned();
        for pair in cut.windows(2) {
            let overlap: String = pair[1].chars().take(OVERLAP).collect();
            assert!(pair[0].ends_with(&overlap));
            joined.extend(pair[1].chars().skip(OVERLAP));
        }
        assert_eq!(joined, text);
    }
}
