//! Text, body and signature of a message, and the verdict on the response.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::Sha256;

use super::Kind;
use crate::platform::{
    clock,
    public_client::{Failure, PublicClient},
};

/// Unix time in seconds, a part of the signed text.
const TIMESTAMP: HeaderName = HeaderName::from_static("x-parlor-timestamp");
/// `sha256=` and the hex digits of HMAC-SHA256 over the timestamp, a dot and the body.
const SIGNATURE: HeaderName = HeaderName::from_static("x-parlor-signature");

/// What a delivery says. Times are texts in the time zone of the site.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub delivery_id: i64,
    pub site_id: i64,
    pub site: String,
    pub channel: String,
    /// `opened`, `recovered`, `summary` or `test`.
    pub event: String,
    pub held: i64,
    pub level: Option<String>,
    /// `alert`, `circuit`, `budget` or `report`.
    pub incident: Option<String>,
    pub details: Value,
    pub occurrences: i64,
    pub began: Option<String>,
    pub ended: Option<String>,
}

/// The result of a try.
#[derive(Debug)]
pub(super) struct Outcome {
    pub ok: bool,
    /// In Chinese, for admins. It never quotes the response: a webhook may return anything.
    pub detail: String,
}

impl Message {
    /// The message in Chinese. It contains no text of users, prompts or answers.
    pub(super) fn text(&self) -> String {
        let field = |name: &str| match &self.details[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let mut lines = vec![
            format!("【Parlor】{}", self.title()),
            format!("门店：{}", self.site),
        ];
        match self.incident.as_deref() {
            Some("alert") => {
                lines.push(format!("应用：{}", field("app")));
                lines.push(format!(
                    "错误：{} / {}",
                    field("status"),
                    field("error_code")
                ));
                let least = if self.occurrences >= 1000 {
                    "至少 "
                } else {
                    ""
                };
                lines.push(format!("次数：{least}{}", self.occurrences));
            }
            Some("circuit") => {
                lines.push(format!("应用：{}", field("app")));
                lines.push(format!("百炼应用 ID 末四位：{}", field("application")));
            }
            Some("budget") => {
                let period = if self.details["period"] == "day" {
                    "今日"
                } else {
                    "本月"
                };
                let (what, unit) = if self.details["unit"] == "yuan" {
                    ("费用", "元")
                } else {
                    ("用量", "tokens")
                };
                let (used, limit) = (field("used"), field("limit"));
                lines.push(format!("{period}{what}：{used} / {limit} {unit}"));
            }
            Some("report") => {
                lines.push(format!("投诉编号：{}", field("report_id")));
                lines.push(format!("类型：{}", field("reason")));
            }
            _ if self.event == "summary" => {
                lines.push(format!(
                    "另有 {} 条通知未逐条发送，请到管理后台查看。",
                    self.held
                ));
            }
            _ => lines.push(format!("通道「{}」配置正确。", self.channel)),
        }
        if let Some(began) = &self.began {
            lines.push(format!("开始：{began}"));
        }
        if let Some(ended) = &self.ended {
            lines.push(format!("恢复：{ended}"));
        }
        lines.join("\n")
    }

    fn title(&self) -> String {
        match (self.incident.as_deref(), self.event.as_str()) {
            (Some("alert"), "opened") => "AI 调用告警".into(),
            (Some("alert"), _) => "AI 调用已恢复".into(),
            (Some("circuit"), "opened") => "熔断已开启，暂停调用".into(),
            (Some("circuit"), _) => "熔断已关闭，恢复调用".into(),
            (Some("budget"), _) => format!("预算已用 {}%", self.details["percent"]),
            (Some("report"), _) => "投诉逾期未处理".into(),
            (_, "summary") => "通知汇总".into(),
            _ => "测试消息".into(),
        }
    }

    fn webhook_body(&self) -> Value {
        json!({
            "id": self.delivery_id,
            "event": self.event,
            "incident": self.incident,
            "level": self.level,
            "site_id": self.site_id,
            "site": self.site,
            "app": self.details["app"],
            "error_code": self.details["error_code"],
            "count": if self.event == "summary" { self.held } else { self.occurrences },
            "text": self.text(),
        })
    }
}

fn hmac(key: &str, text: &str) -> Vec<u8> {
    // HMAC accepts keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// URL, headers and body of the request to a channel.
struct Signed {
    url: Url,
    headers: HeaderMap,
    body: String,
}

fn signed(kind: Kind, mut url: Url, secret: Option<&str>, message: &Message, now: i64) -> Signed {
    let mut headers = HeaderMap::new();
    let body = match kind {
        Kind::Wecom => json!({ "msgtype": "text", "text": { "content": message.text() } }),
        Kind::Dingtalk => {
            if let Some(secret) = secret {
                // Milliseconds here, seconds below.
                let timestamp = (now * 1000).to_string();
                let sign = BASE64.encode(hmac(secret, &format!("{timestamp}\n{secret}")));
                url.query_pairs_mut()
                    .append_pair("timestamp", &timestamp)
                    .append_pair("sign", &sign);
            }
            json!({ "msgtype": "text", "text": { "content": message.text() } })
        }
        Kind::Feishu => {
            let mut body = json!({ "msg_type": "text", "content": { "text": message.text() } });
            if let Some(secret) = secret {
                // The text is the key, and the signed data is empty.
                let sign = BASE64.encode(hmac(&format!("{now}\n{secret}"), ""));
                body["timestamp"] = now.to_string().into();
                body["sign"] = sign.into();
            }
            body
        }
        Kind::Webhook => message.webhook_body(),
    };
    let body = body.to_string();
    if kind == Kind::Webhook
        && let Some(secret) = secret
    {
        let digest = hmac(secret, &format!("{now}.{body}"));
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        let signature = format!("sha256={}", hex.collect::<String>());
        headers.insert(TIMESTAMP, HeaderValue::from(now));
        if let Ok(signature) = HeaderValue::try_from(signature) {
            headers.insert(SIGNATURE, signature);
        }
    }
    Signed { url, headers, body }
}

/// Sends a message to a channel.
pub(super) async fn send(
    client: &PublicClient,
    kind: Kind,
    url: &str,
    secret: Option<&str>,
    message: &Message,
) -> Outcome {
    // An admin may have stored it under the rules of an earlier release.
    let Ok(url) = kind.parse_url(url) else {
        return failed("地址无效");
    };
    let Signed { url, headers, body } =
        signed(kind, url, secret, message, clock::now().timestamp());
    match client.post(url, headers, body).await {
        Ok((status, body)) => verdict(kind, status, &body),
        Err(Failure::NotPublic) => failed(NOT_PUBLIC),
        Err(Failure::Timeout) => failed("超时，5 秒内没有响应"),
        Err(Failure::Connection) => failed("连接失败"),
    }
}

/// The fixed text for all addresses that are not public.
const NOT_PUBLIC: &str = "地址不是公网地址，或域名无法解析";

fn failed(detail: impl Into<String>) -> Outcome {
    Outcome {
        ok: false,
        detail: detail.into(),
    }
}

fn verdict(kind: Kind, status: StatusCode, body: &[u8]) -> Outcome {
    if !status.is_success() {
        return failed(format!("HTTP {}", status.as_u16()));
    }
    let fields: &[&str] = match kind {
        Kind::Webhook => &[],
        // Robots return 200 for errors, too.
        Kind::Wecom | Kind::Dingtalk => &["errcode"],
        // Old robots return `StatusCode`.
        Kind::Feishu => &["code", "StatusCode"],
    };
    if !fields.is_empty() {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code = fields
            .iter()
            .find_map(|field| Some((field, body[field].as_i64()?)));
        match code {
            Some((_, 0)) => {}
            Some((field, code)) => return failed(format!("{field} {code}")),
            None => return failed("响应无法识别"),
        }
    }
    Outcome {
        ok: true,
        detail: format!("HTTP {}", status.as_u16()),
    }
}

#[cfg(test)]
mod tests;
