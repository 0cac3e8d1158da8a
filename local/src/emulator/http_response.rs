//! Converts the result of a function to an HTTP response, as API Gateway (REST) does.

use std::collections::BTreeMap;
use std::error::Error;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;

use super::outcome::{FunctionError, Outcome, ResponseStream};

/// Separates the prelude of a stream from its body.
const DELIMITER: [u8; 8] = [0; 8];

/// Longest prelude in bytes.
const PRELUDE_LIMIT: usize = 16 * 1024;

/// Headers that describe a connection and are not forwarded.
const HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// A response of a proxy integration, or the prelude of a streamed one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    status_code: u16,
    #[serde(default)]
    headers: Option<BTreeMap<String, Values>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Values>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Many(Vec<Value>),
    One(Value),
}

impl Outcome {
    /// Converts to an HTTP response. [`Outcome::Response`] gives a buffered body, and
    /// [`Outcome::Stream`] a body that arrives chunk by chunk.
    ///
    /// # Errors
    /// The error of the function, or `MalformedProxyResponse` if the result does not have the
    /// format of a proxy response. API Gateway returns 502 for both.
    pub async fn into_http(self) -> Result<Response<Body>, FunctionError> {
        match self {
            Self::Response(payload) => buffered(&payload),
            Self::Stream(stream) => streamed(stream).await,
            Self::Error(error) => Err(error),
        }
    }
}

fn buffered(payload: &[u8]) -> Result<Response<Body>, FunctionError> {
    let mut head: Head = serde_json::from_slice(payload).map_err(malformed)?;
    let text = head.body.take().unwrap_or_default();
    let body = if head.is_base64_encoded {
        BASE64_STANDARD.decode(text).map_err(malformed)?
    } else {
        text.into_bytes()
    };
    head.with(Body::from(body))
}

async fn streamed(mut stream: ResponseStream) -> Result<Response<Body>, FunctionError> {
    let mut start = BytesMut::new();
    let end_of_prelude = loop {
        let delimiter = start
            .windows(DELIMITER.len())
            .position(|window| window == DELIMITER);
        match delimiter {
            Some(position) => break position,
            None if start.len() > PRELUDE_LIMIT => return Err(malformed("no prelude in 16 KB")),
            None => {}
        }
        let chunk = stream
            .next()
            .await
            .ok_or_else(|| malformed("the stream ended in its prelude"))?;
        start.extend_from_slice(&chunk.map_err(malformed)?);
    };
    let prelude = start.split_to(end_of_prelude);
    let first = start.split_off(DELIMITER.len()).freeze();
    let head: Head = serde_json::from_slice(&prelude).map_err(malformed)?;
    let first = futures_util::stream::iter((!first.is_empty()).then_some(Ok::<Bytes, _>(first)));
    head.with(Body::from_stream(first.chain(stream.into_stream())))
}

const REMAPPED_WWW_AUTHENTICATE: HeaderName =
    HeaderName::from_static("x-amzn-remapped-www-authenticate");

impl Head {
    fn with(self, body: Body) -> Result<Response<Body>, FunctionError> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status_code).map_err(malformed)?;
        *response.headers_mut() = self.headers()?;
        Ok(response)
    }

    /// A header in `multiValueHeaders` replaces the same header in `headers`.
    fn headers(self) -> Result<HeaderMap, FunctionError> {
        let mut headers = HeaderMap::new();
        for group in [self.headers, self.multi_value_headers] {
            for (name, values) in group.unwrap_or_default() {
                let name = HeaderName::try_from(name).map_err(malformed)?;
                headers.remove(&name);
                for value in values.into_texts() {
                    let value = HeaderValue::try_from(value).map_err(malformed)?;
                    headers.append(&name, value);
                }
            }
        }
        for cookie in self.cookies.unwrap_or_default() {
            let cookie = HeaderValue::try_from(cookie).map_err(malformed)?;
            headers.append(header::SET_COOKIE, cookie);
        }
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        // API Gateway renames this header.
        if let Some(challenge) = headers.remove(header::WWW_AUTHENTICATE) {
            headers.insert(REMAPPED_WWW_AUTHENTICATE, challenge);
        }
        Ok(headers)
    }
}

impl Values {
    fn into_texts(self) -> impl Iterator<Item = String> {
        let values = match self {
            Self::Many(values) => values,
            Self::One(value) => vec![value],
        };
        values.into_iter().map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

fn malformed(cause: impl Into<Box<dyn Error>>) -> FunctionError {
    FunctionError::new("MalformedProxyResponse", cause.into().to_string())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;

    fn stream(chunks: &[&[u8]]) -> Outcome {
        let (sender, receiver) = mpsc::channel(chunks.len().max(1));
        for chunk in chunks {
            sender.try_send(Ok(Bytes::copy_from_slice(chunk))).unwrap();
        }
        Outcome::Stream(ResponseStream::new(receiver))
    }

    fn response(payload: &Value) -> Outcome {
        Outcome::Response(payload.to_string().into())
    }

    async fn text(response: Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn prelude_may_be_split_at_any_byte() {
        let whole = b"{\"statusCode\":201,\"headers\":{\"a\":\"1\"}}\0\0\0\0\0\0\0\0body";
        for cut in 0..whole.len() {
            let (start, end) = whole.split_at(cut);
            let response = stream(&[start, end]).into_http().await.unwrap();
            assert_eq!(response.status(), 201);
            assert_eq!(response.headers()["a"], "1");
            assert_eq!(text(response).await, "body");
        }
    }

    #[tokio::test]
    async fn stream_without_prelude_is_malformed() {
        let long = vec![b' '; PRELUDE_LIMIT + 1];
        for chunks in [&[b"hello".as_slice()][..], &[], &[&long]] {
            let error = stream(chunks).into_http().await.unwrap_err();
            assert_eq!(error.kind, "MalformedProxyResponse");
        }
    }

    #[tokio::test]
    async fn base64_body_is_decoded() {
        let payload = json!({"statusCode": 200, "body": "AP8=", "isBase64Encoded": true});
        let response = response(&payload).into_http().await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, [0, 255].as_slice());
    }

    #[tokio::test]
    async fn multi_value_headers_replace_single_ones_and_cookies_are_added() {
        let payload = json!({
            "statusCode": 200,
            "headers": {"A": "1", "b": 2, "connection": "close"},
            "multiValueHeaders": {"a": ["3", "4"]},
            "cookies": ["c=5"],
        });
        let response = response(&payload).into_http().await.unwrap();
        let headers = response.headers();
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["3", "4"]);
        assert_eq!(headers["b"], "2");
        assert_eq!(headers["set-cookie"], "c=5");
        assert!(!headers.contains_key("connection"));
    }

    #[tokio::test]
    async fn payload_that_is_not_a_proxy_response_is_malformed() {
        for payload in [
            json!({"hello": 1}),
            json!("text"),
            json!({"statusCode": 9}),
            json!({"statusCode": 200, "headers": {"a b": "1"}}),
            json!({"statusCode": 200, "body": "!", "isBase64Encoded": true}),
        ] {
            let error = response(&payload).into_http().await.unwrap_err();
            assert_eq!(error.kind, "MalformedProxyResponse");
        }
    }
}
