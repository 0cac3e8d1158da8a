//! Stand-ins of the robots of `WeCom`, `DingTalk` and Feishu, and of a webhook, on one port. The
//! header `Host` selects the service. They check form and signature, and fail on demand.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use common::platform::public_client::{Lookup, PublicClient};
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::command;

/// The key of all signatures.
pub const SECRET: &str = "SEC of the stand-ins";

/// How a request fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// This status.
    Status(u16),
    /// 200 with this error code in the service's own form. 45009 is `WeCom`'s rate limit.
    Code(i64),
    /// A redirect to this machine.
    Redirect,
    /// 200 with HTML.
    Nonsense,
    /// No response.
    Hang,
}

/// A message that was accepted.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Received {
    pub host: String,
    pub path: String,
    pub text: String,
    pub is_signed: bool,
    pub body: Value,
}

#[derive(Default)]
struct Shared {
    received: Vec<Received>,
    faults: VecDeque<Fault>,
    requests: usize,
}

/// The running stand-ins. They stop when this value is dropped.
pub struct Robots {
    /// The client of a Parlor that uses them.
    pub client: PublicClient,
    shared: Arc<Mutex<Shared>>,
    server: JoinHandle<()>,
}

impl Drop for Robots {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// DNS of the stand-ins: hosts below `internal` have a private address, all others a public one.
struct Names;

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let address = if host.ends_with(".internal") {
            [10, 0, 0, 1]
        } else {
            [93, 184, 216, 34]
        };
        Box::pin(async move { Ok(vec![address.into()]) })
    }
}

impl Robots {
    /// Starts the stand-ins on a free port.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::<Mutex<Shared>>::default();
        let listener = TcpListener::bind(command::loopback(0)).await?;
        let address: SocketAddr = listener.local_addr()?;
        let app = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "a server of this process")]
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.ok();
        });
        Ok(Self {
            client: PublicClient::with_stand_in(Arc::new(Names), address),
            shared,
            server,
        })
    }

    /// The next requests fail, one for each fault.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared).faults.extend(faults);
    }

    /// The messages that were accepted, oldest first.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared).received.clone()
    }

    /// The number of requests, also of failed ones.
    pub fn requests(&self) -> usize {
        lock(&self.shared).requests
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let host = host
        .split_once(':')
        .map_or(host, |(name, _)| name)
        .to_owned();
    let fault = {
        let mut shared = lock(&shared);
        shared.requests += 1;
        shared.faults.pop_front()
    };
    match fault {
        None => {}
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            return status.into_response();
        }
        Some(Fault::Code(code)) => return Json(result(&host, code)).into_response(),
        Some(Fault::Redirect) => {
            let location = [(header::LOCATION, "http://127.0.0.1:1/")];
            return (StatusCode::FOUND, location).into_response();
        }
        Some(Fault::Nonsense) => return "<html>captive portal</html>".into_response(),
        Some(Fault::Hang) => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
    let text = String::from_utf8_lossy(&body);
    let json: Value = serde_json::from_str(&text).unwrap_or_default();
    let signature = match host.as_str() {
        "oapi.dingtalk.com" => signed_in_query(&query),
        "open.feishu.cn" => signed_in_body(&json),
        "qyapi.weixin.qq.com" => Signature::Missing,
        _ => signed_in_headers(&headers, &text),
    };
    let said = match host.as_str() {
        "open.feishu.cn" if json["msg_type"] == "text" => &json["content"]["text"],
        "oapi.dingtalk.com" | "qyapi.weixin.qq.com" if json["msgtype"] == "text" => {
            &json["text"]["content"]
        }
        "open.feishu.cn" | "oapi.dingtalk.com" | "qyapi.weixin.qq.com" => &Value::Null,
        _ => &json["text"],
    };
    let (Some(said), false) = (said.as_str(), signature == Signature::Wrong) else {
        return match host.as_str() {
            // Parameters that cannot be read, or a wrong signature.
            "open.feishu.cn" => Json(result(&host, 19021)).into_response(),
            "oapi.dingtalk.com" => Json(result(&host, 310_000)).into_response(),
            "qyapi.weixin.qq.com" => Json(result(&host, 40_008)).into_response(),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        };
    };
    tracing::info!(host, text = said, "a robot received a message");
    lock(&shared).received.push(Received {
        path: uri.path().to_owned(),
        text: said.to_owned(),
        is_signed: signature == Signature::Right,
        body: json.clone(),
        host: host.clone(),
    });
    Json(result(&host, 0)).into_response()
}

fn result(host: &str, code: i64) -> Value {
    if host == "open.feishu.cn" {
        json!({ "code": code, "msg": "of the stand-in", "data": {} })
    } else {
        json!({ "errcode": code, "errmsg": "of the stand-in" })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signature {
    Missing,
    Right,
    Wrong,
}

fn compare(given: Option<&str>, expected: impl FnOnce() -> String) -> Signature {
    match given {
        None => Signature::Missing,
        Some(given) if given == expected() => Signature::Right,
        Some(_) => Signature::Wrong,
    }
}

fn hmac(key: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn signed_in_query(query: &[(String, String)]) -> Signature {
    let value = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    let timestamp = value("timestamp").unwrap_or_default();
    compare(value("sign"), || {
        BASE64.encode(hmac(SECRET, &format!("{timestamp}\n{SECRET}")))
    })
}

fn signed_in_body(body: &Value) -> Signature {
    let timestamp = body["timestamp"].as_str().unwrap_or_default();
    compare(body["sign"].as_str(), || {
        BASE64.encode(hmac(&format!("{timestamp}\n{SECRET}"), ""))
    })
}

fn signed_in_headers(headers: &HeaderMap, body: &str) -> Signature {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let timestamp = value("x-parlor-timestamp").unwrap_or_default();
    compare(value("x-parlor-signature"), || {
        let digest = hmac(SECRET, &format!("{timestamp}.{body}"));
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        format!("sha256={}", hex.collect::<String>())
    })
}
