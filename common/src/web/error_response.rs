//! Renders errors in three formats: mini-program, admin web, session API.
//!
//! This is the only place that maps an error to a status, a code and a sentence.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Map, Value, json};

use super::Json;
use crate::platform::error::{Error, ExceededQuota, Reason};

/// The error format of an API. The path decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// `/api/xcx`: camelCase, Chinese, 422.
    MiniProgram,
    /// `/api/admin` and all other paths: `snake_case`, Chinese, 422.
    Admin,
    /// `/api/chat`: `snake_case`, English, 400.
    Session,
}

impl ErrorFormat {
    /// The format for a path.
    pub fn of(path: &str) -> Self {
        let below = |prefix| {
            path.strip_prefix(prefix)
                .is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'))
        };
        // The console serves the routes of the mini-program, too.
        if below("/api/xcx") || below("/console/api/xcx") {
            Self::MiniProgram
        } else if below("/api/chat") {
            Self::Session
        } else {
            Self::Admin
        }
    }

    /// Renders the whole response. Of the router's `headers`, it keeps `Allow`.
    pub(super) fn render(self, error: &Error, request_id: &str, headers: &HeaderMap) -> Response {
        let (status, code) = self.status(error);
        let mut body = Map::new();
        let sentence = if self == Self::Session {
            english(error)
        } else {
            chinese(error)
        };
        body.insert(
            if self == Self::Session {
                "error"
            } else {
                "detail"
            }
            .into(),
            sentence.into(),
        );
        body.insert("code".into(), code.into());
        body.insert(
            self.spell("requestId", "request_id").into(),
            request_id.into(),
        );
        match error {
            Error::Invalid { field, .. } => {
                body.insert("field".into(), Value::from(&**field));
            }
            Error::Busy {
                message_id: Some(message_id),
            } => {
                body.insert(
                    self.spell("messageId", "message_id").into(),
                    json!(message_id),
                );
            }
            Error::OtherNumber { matching } => {
                body.insert("matching".into(), json!(matching));
            }
            Error::QuotaExceeded { quota, .. } => {
                let quota = json!({
                    (self.spell("subjectType", "subject_type")): quota.subject_type,
                    (self.spell("subjectId", "subject_id")): quota.subject_id,
                    "period": quota.period,
                });
                body.insert("quota".into(), quota);
            }
            _ => {}
        }
        let retry_after = retry_after(error);
        if let Some(seconds) = retry_after {
            body.insert(
                self.spell("retryAfter", "retry_after").into(),
                json!(seconds),
            );
        }

        let mut response = (status, Json(Value::Object(body))).into_response();
        if let Some(allow) = headers.get(ALLOW) {
            response.headers_mut().insert(ALLOW, allow.clone());
        }
        if let Some(seconds) = retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    fn spell(self, camel: &'static str, snake: &'static str) -> &'static str {
        if self == Self::MiniProgram {
            camel
        } else {
            snake
        }
    }

    fn status(self, error: &Error) -> (StatusCode, &'static str) {
        match error {
            Error::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Error::NotApproved => (StatusCode::FORBIDDEN, "not_approved"),
            Error::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Error::NotGranted => (StatusCode::FORBIDDEN, "not_granted"),
            Error::NotOwner => (StatusCode::FORBIDDEN, "not_owner"),
            Error::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Error::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Error::InvalidJson => (StatusCode::BAD_REQUEST, "invalid_json"),
            Error::Invalid { .. } if self == Self::Session => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            Error::Invalid { .. } | Error::KeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request")
            }
            Error::ContentBlocked => (StatusCode::UNPROCESSABLE_ENTITY, "content_blocked"),
            Error::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Error::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Error::Busy { .. } => (StatusCode::CONFLICT, "busy"),
            Error::Conflict(_) | Error::OtherNumber { .. } => (StatusCode::CONFLICT, "conflict"),
            Error::Outdated => (StatusCode::PRECONDITION_FAILED, "conflict"),
            Error::Gone => (StatusCode::GONE, "gone"),
            Error::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Error::BudgetExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, "budget_exceeded"),
            Error::QuotaExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"),
            Error::CircuitOpen { .. } => (StatusCode::SERVICE_UNAVAILABLE, "circuit_open"),
            Error::AppDisabled(_) | Error::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            Error::Internal(..) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// An error for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct ErrorInWords {
    pub status: StatusCode,
    /// The code of the API.
    pub code: &'static str,
    /// A sentence for users.
    pub sentence: String,
}

impl ErrorInWords {
    /// Describes an error in English or in Chinese.
    pub fn of(error: &Error, in_english: bool) -> Self {
        let (status, code) = ErrorFormat::Admin.status(error);
        Self {
            status,
            code,
            sentence: if in_english {
                english(error)
            } else {
                chinese(error)
            },
        }
    }
}

fn retry_after(error: &Error) -> Option<i32> {
    match error {
        Error::RateLimited { retry_after }
        | Error::BudgetExceeded { retry_after }
        | Error::QuotaExceeded { retry_after, .. }
        | Error::CircuitOpen { retry_after } => Some(*retry_after),
        // An admin may enable it at any time, and the next message is sent to it at once.
        Error::AppDisabled(_) => Some(60),
        Error::Unavailable(_) => Some(1),
        _ => None,
    }
}

/// What users read if their question or its reply was blocked.
pub const CONTENT_BLOCKED: &str = "内容未通过安全检查，请换个说法";

fn chinese(error: &Error) -> String {
    match error {
        Error::Unauthorized(_) => "请先登录".into(),
        Error::NotApproved => "账号未通过审核或已停用".into(),
        Error::Forbidden => "没有权限".into(),
        Error::NotGranted => "您没有使用该机器人的权限".into(),
        Error::NotOwner => "无权访问他人的内容".into(),
        Error::NotFound => "内容不存在".into(),
        Error::MethodNotAllowed => "不支持的请求方法".into(),
        Error::InvalidJson => "请求内容不是有效的 JSON".into(),
        Error::Invalid { field, reason } => invalid_in_chinese(field, *reason),
        Error::ContentBlocked => CONTENT_BLOCKED.into(),
        Error::PayloadTooLarge => "请求内容过大".into(),
        Error::UnsupportedMediaType => "请求内容必须是 JSON".into(),
        Error::Busy { .. } => "上一条回复还在生成，请稍候".into(),
        Error::Conflict(_) => "当前状态不允许此操作".into(),
        Error::OtherNumber { matching } => format!("符合条件的有 {matching} 条，与预期不符"),
        Error::Outdated => "内容已被他人修改，请刷新后重试".into(),
        Error::Gone => "已过期，请重新操作".into(),
        Error::KeyReused => "幂等键已用于其他内容".into(),
        Error::RateLimited { .. } => "发送过于频繁，请稍后再试".into(),
        Error::BudgetExceeded { .. } => "AI 用量已达上限，请稍后再试".into(),
        Error::QuotaExceeded { quota, .. } => quota_in_chinese(quota),
        Error::CircuitOpen { .. } | Error::AppDisabled(_) => "AI 服务暂时不可用，请稍后再试".into(),
        Error::Unavailable(_) => "服务暂时不可用，请稍后再试".into(),
        Error::Internal(..) => "服务器内部错误".into(),
    }
}

fn quota_in_chinese(quota: &ExceededQuota) -> String {
    let whose = if quota.subject_type == "bot" {
        "该机器人"
    } else {
        "您"
    };
    let (period, next) = if quota.period == "day" {
        ("今天", "明天")
    } else {
        ("本月", "下月")
    };
    format!("{whose}{period}的 AI 用量已达上限，请{next}再试")
}

fn invalid_in_chinese(field: &str, reason: Reason) -> String {
    match reason {
        // The existing mini-program shows this sentence as it is.
        Reason::Missing | Reason::Empty if field == "content" => "消息内容不能为空".into(),
        Reason::Missing => format!("缺少参数 {field}"),
        Reason::Type => format!("参数 {field} 的类型不正确"),
        Reason::Empty => format!("参数 {field} 不能为空"),
        Reason::TooLong(most) => format!("参数 {field} 不能超过 {most} 个字符"),
        Reason::TooLarge(most) => format!("参数 {field} 不能超过 {most} 字节"),
        Reason::TooMany(most) => format!("参数 {field} 不能超过 {most} 项"),
        Reason::OutOfRange(least, most) => format!("参数 {field} 必须在 {least} 到 {most} 之间"),
        Reason::Unknown => format!("参数 {field} 的取值无效"),
        Reason::Nul => format!("参数 {field} 含有无效字符"),
        Reason::Cursor => format!("参数 {field} 不是有效的游标"),
        Reason::TooDeep => format!("参数 {field} 过大，请改用 cursor 翻页"),
        Reason::NotADate => format!("参数 {field} 不是有效的日期或时间"),
        Reason::Past => format!("参数 {field} 必须晚于当前时间"),
        Reason::Backwards => format!("参数 {field} 早于开始时间"),
        Reason::TooManyDays(most) => format!("时间范围不能超过 {most} 天"),
        Reason::Exclusive(other) => format!("参数 {field} 不能与 {other} 同时使用"),
        Reason::ContentDiffers => "同一消息标识已用于其他内容".into(),
        Reason::Repeated => format!("参数 {field} 重复"),
        Reason::EventId => format!("参数 {field} 不是此回复的事件标识"),
        Reason::BeyondEnd => format!("参数 {field} 超出已有内容"),
        Reason::NotAnId => format!("参数 {field} 不是有效的标识"),
        Reason::NotPrintable => format!("参数 {field} 只能包含可打印的 ASCII 字符"),
        Reason::NotABot => "该会话不是与机器人的会话".into(),
        Reason::NoAgent => "该机器人没有可用的应用".into(),
        Reason::NotOfThisSession => format!("参数 {field} 不是本会话的消息"),
        Reason::NotHttps => format!("参数 {field} 必须是 https 地址，不能带端口、账号或密码"),
        Reason::NotOfService => format!("参数 {field} 必须是该服务的官方地址"),
        // One text for all, so that a test of a channel is no port scanner.
        Reason::NotPublic => format!("参数 {field} 不是公网地址，或域名无法解析"),
        Reason::Closed => "会话已关闭".into(),
        Reason::Paused => "会话已暂停".into(),
        Reason::NotAnAmount => format!("参数 {field} 必须是非负小数，最多 6 位小数"),
        Reason::Tiers => format!("参数 {field} 的上限必须递增，且只有最后一档不设上限"),
    }
}

fn english(error: &Error) -> String {
    match error {
        Error::Unauthorized(_) => "Authentication required".into(),
        Error::NotApproved => "User is not approved".into(),
        Error::Forbidden => "Forbidden".into(),
        Error::NotGranted => "You may not use this bot".into(),
        Error::NotOwner => "Not the owner".into(),
        Error::NotFound => "Not found".into(),
        Error::MethodNotAllowed => "Method not allowed".into(),
        Error::InvalidJson => "Body is not valid JSON".into(),
        Error::Invalid { field, reason } => invalid_in_english(field, *reason),
        Error::ContentBlocked => "The content is not allowed. Please rephrase it".into(),
        Error::PayloadTooLarge => "Body is too large".into(),
        Error::UnsupportedMediaType => "Body must be JSON".into(),
        Error::Busy { .. } => "A reply is in progress".into(),
        Error::Conflict(what) => (*what).into(),
        Error::OtherNumber { matching } => format!("{matching} objects match"),
        Error::Outdated => "The stored version is another one".into(),
        Error::Gone => "Gone".into(),
        Error::KeyReused => "Idempotency-Key was used with another body".into(),
        Error::RateLimited { .. } => "Too many requests".into(),
        Error::BudgetExceeded { .. } => "AI budget is used up".into(),
        Error::QuotaExceeded { quota, .. } => quota_in_english(quota),
        Error::CircuitOpen { .. } | Error::AppDisabled(_) => "AI is unavailable".into(),
        Error::Unavailable(_) => "Service is unavailable".into(),
        Error::Internal(..) => "Internal server error".into(),
    }
}

fn quota_in_english(quota: &ExceededQuota) -> String {
    let whose = if quota.subject_type == "bot" {
        "The bot's"
    } else {
        "Your"
    };
    format!("{whose} AI quota of the {} is used up", quota.period)
}

fn invalid_in_english(field: &str, reason: Reason) -> String {
    match reason {
        Reason::Missing => format!("{field} is required"),
        Reason::Type => format!("{field} has the wrong type"),
        Reason::Empty => format!("{field} must not be empty"),
        Reason::TooLong(most) => format!("{field} must have at most {most} characters"),
        Reason::TooLarge(most) => format!("{field} must have at most {most} bytes"),
        Reason::TooMany(most) => format!("{field} must have at most {most} items"),
        Reason::OutOfRange(least, most) => format!("{field} must be from {least} to {most}"),
        Reason::Unknown => format!("{field} has an unknown value"),
        Reason::Nul => format!("{field} contains an invalid character"),
        Reason::Cursor => format!("{field} is not a cursor of this list"),
        Reason::TooDeep => format!("{field} is too large: use a cursor"),
        Reason::NotADate => format!("{field} is neither a day nor an instant"),
        Reason::Past => format!("{field} must be in the future"),
        Reason::Backwards => format!("{field} is before the start"),
        Reason::TooManyDays(most) => format!("{field}: at most {most} days"),
        Reason::Exclusive(other) => format!("{field} cannot be given together with {other}"),
        Reason::ContentDiffers => "The same id was used for other content".into(),
        Reason::Repeated => format!("{field} is given more than once"),
        Reason::EventId => format!("{field} is not an event of this reply"),
        Reason::BeyondEnd => format!("{field} is past the end"),
        Reason::NotAnId => format!("{field} is not a valid id"),
        Reason::NotPrintable => format!("{field} must be printable ASCII"),
        Reason::NotABot => "Not a conversation with a bot".into(),
        Reason::NoAgent => "The bot has no agent".into(),
        Reason::NotOfThisSession => format!("{field} is not a message of this session"),
        Reason::NotHttps => format!("{field} must be https, without port and credentials"),
        Reason::NotOfService => format!("{field} must be an official address of the service"),
        Reason::NotPublic => format!("{field} is not public, or its host cannot be resolved"),
        Reason::Closed => "Session is closed".into(),
        Reason::Paused => "Session is paused".into(),
        Reason::NotAnAmount => format!("{field} must be a decimal number with at most 6 decimals"),
        Reason::Tiers => format!("{field} must ascend, and only the last one is open"),
    }
}

#[cfg(test)]
mod properties;
