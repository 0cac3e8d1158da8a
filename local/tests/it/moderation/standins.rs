//! Servers on loopback that behave like WeChat and like a service of the operator.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::parlor::serve;

pub const APP_ID: &str = "wx0123456789abcdef";
pub const APP_SECRET: &str = "the secret of the mini-program";
pub const HTTP_SECRET: &str = "the secret of the service";

/// A text with this is risky or blocked, a text with that is for a review.
pub const BAD: &str = "违规内容";
pub const DOUBTFUL: &str = "可疑内容";
/// A user with this openid has not used the mini-program for two hours.
pub const INACTIVE: &str = "openid-inactive";

/// What a service does instead of an ordinary response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Takes 100 ms for an ordinary response.
    Slow,
    Hang,
    Status500,
    Nonsense,
    /// A body without end.
    Huge,
}

impl Trouble {
    async fn respond(trouble: Option<Self>, usual: Value) -> Response {
        match trouble {
            None => Json(usual).into_response(),
            Some(Self::Slow) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Json(usual).into_response()
            }
            Some(Self::Hang) => std::future::pending().await,
            Some(Self::Status500) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(Self::Nonsense) => r#"{"action":"perhaps","errcode":"#.into_response(),
            Some(Self::Huge) => {
                let endless = futures_util::stream::repeat_with(|| {
                    Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 8_192]))
                });
                axum::body::Body::from_stream(endless).into_response()
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    trouble: Option<Trouble>,
    /// The accepted requests.
    requests: Vec<Value>,
    /// WeChat: number of the valid token.
    token: usize,
    /// WeChat: `force_refresh` of each request for a token.
    token_requests: Vec<bool>,
}

/// A stand-in. Clones share one server.
#[derive(Clone)]
pub struct StandIn {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

impl StandIn {
    pub fn has(&self, trouble: Option<Trouble>) {
        self.shared.lock().unwrap().trouble = trouble;
    }

    pub fn requests(&self) -> Vec<Value> {
        self.shared.lock().unwrap().requests.clone()
    }

    /// WeChat: `force_refresh` of each request for a token.
    pub fn token_requests(&self) -> Vec<bool> {
        self.shared.lock().unwrap().token_requests.clone()
    }

    /// WeChat: the valid token expires. The next one is another.
    pub fn expire_token(&self) {
        self.shared.lock().unwrap().token += 1;
    }

    async fn start(router: Router<Arc<Mutex<Shared>>>) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let url = serve(router.with_state(Arc::clone(&shared))).await;
        Self { url, shared }
    }

    pub async fn wechat() -> Self {
        let router = Router::new()
            .route("/cgi-bin/stable_token", post(stable_token))
            .route("/wxa/msg_sec_check", post(msg_sec_check));
        Self::start(router).await
    }

    pub async fn http() -> Self {
        Self::start(Router::new().route("/check", post(check))).await
    }
}

type Stand = State<Arc<Mutex<Shared>>>;

fn token(number: usize) -> String {
    format!("token_{number}")
}

async fn stable_token(State(shared): Stand, Json(request): Json<Value>) -> Response {
    let mut shared = shared.lock().unwrap();
    if request["grant_type"] != "client_credential" || request["appid"] != APP_ID {
        return Json(json!({ "errcode": 40013, "errmsg": "invalid appid" })).into_response();
    }
    if request["secret"] != APP_SECRET {
        return Json(json!({ "errcode": 40125, "errmsg": "invalid appsecret" })).into_response();
    }
    let force = request["force_refresh"] == true;
    shared.token_requests.push(force);
    if force {
        shared.token += 1;
    }
    Json(json!({ "access_token": token(shared.token), "expires_in": 7200 })).into_response()
}

async fn msg_sec_check(
    State(shared): Stand,
    Query(query): Query<HashMap<String, String>>,
    Json(request): Json<Value>,
) -> Response {
    let (trouble, usual) = {
        let mut shared = shared.lock().unwrap();
        let content = request["content"].as_str().unwrap_or_default();
        let refused = if query.get("access_token") != Some(&token(shared.token)) {
            Some((
                40001,
                "invalid credential, access_token is invalid or not latest",
            ))
        } else if request["version"] != 2
            || !(1..=4).contains(&request["scene"].as_i64().unwrap_or(0))
        {
            Some((40129, "invalid scene"))
        } else if content.is_empty() || content.chars().count() > 2_500 {
            Some((47001, "data format error"))
        } else if request["openid"] == INACTIVE {
            Some((61010, "code is expired"))
        } else if !request["openid"]
            .as_str()
            .unwrap_or_default()
            .starts_with("openid-")
        {
            Some((40003, "invalid openid"))
        } else {
            None
        };
        let (suggest, label) = if content.contains(BAD) {
            ("risky", 20001)
        } else if content.contains(DOUBTFUL) {
            ("review", 10001)
        } else {
            ("pass", 100)
        };
        let usual = refused.map_or_else(
            || {
                json!({
                    "errcode": 0, "errmsg": "ok", "trace_id": "60ae120f-371d5872-7941a05b",
                    "result": { "suggest": suggest, "label": label },
                    "detail": [{ "strategy": "content_model", "errcode": 0, "suggest": suggest, "label": label, "prob": 90 }],
                })
            },
            |(code, message)| json!({ "errcode": code, "errmsg": message }),
        );
        if refused.is_none() {
            shared.requests.push(request);
        }
        (shared.trouble, usual)
    };
    Trouble::respond(trouble, usual).await
}

async fn check(State(shared): Stand, headers: HeaderMap, body: Bytes) -> Response {
    let mut mac = Hmac::<Sha256>::new_from_slice(HTTP_SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let digest = format!("{:x}", mac.finalize().into_bytes());
    let signature = headers
        .get("x-parlor-signature")
        .and_then(|value| value.to_str().ok());
    if signature != Some(&format!("sha256={digest}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let usual = if request["text"].as_str().unwrap().contains(BAD) {
        json!({ "action": "block", "labels": ["politics", "a\u{0}b"] })
    } else {
        json!({ "action": "allow" })
    };
    let trouble = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push(request);
        shared.trouble
    };
    Trouble::respond(trouble, usual).await
}
