//! Converts an HTTP request to a proxy event, as API Gateway (REST, payload version 1) does.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use axum::extract::{ConnectInfo, Query};
use axum::http::{HeaderMap, Uri, header, request::Parts};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

pub(super) const STAGE: &str = "local";
const API_ID: &str = "local";
const ACCOUNT: &str = "123456789012";

/// Values that the gateway adds to a request.
pub(super) struct Receipt {
    /// The id that API Gateway gives the request. Lambda's request id is different.
    pub(super) request_id: String,
    pub(super) trace_id: String,
    pub(super) time: SystemTime,
}

/// The event for a request. `resource` is the path template of the route.
pub(super) fn proxy_event(resource: &str, parts: &Parts, body: &[u8], receipt: &Receipt) -> Value {
    let path = parts.uri.path();
    let source_ip = source_ip(parts);
    let headers = headers(parts, source_ip, receipt);
    let query = query(&parts.uri);
    let (text, is_base64) = match std::str::from_utf8(body) {
        Ok("") => (Value::Null, false),
        Ok(text) => (text.into(), false),
        Err(_) => (BASE64_STANDARD.encode(body).into(), true),
    };
    let time = DateTime::<Utc>::from(receipt.time);
    json!({
        "resource": resource,
        "path": path,
        "httpMethod": parts.method.as_str(),
        "headers": last_values(&headers),
        "multiValueHeaders": all_values(&headers),
        "queryStringParameters": last_values(&query),
        "multiValueQueryStringParameters": all_values(&query),
        "pathParameters": path_parameters(resource, path),
        "stageVariables": null,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": header_text(&parts.headers, header::HOST),
            "domainPrefix": API_ID,
            "extendedRequestId": receipt.request_id,
            "httpMethod": parts.method.as_str(),
            "identity": {
                "accessKey": null,
                "accountId": null,
                "caller": null,
                "cognitoAuthenticationProvider": null,
                "cognitoAuthenticationType": null,
                "cognitoIdentityId": null,
                "cognitoIdentityPoolId": null,
                "principalOrgId": null,
                "sourceIp": source_ip.to_string(),
                "user": null,
                "userAgent": header_text(&parts.headers, header::USER_AGENT),
                "userArn": null,
            },
            "path": format!("/{STAGE}{path}"),
            "protocol": "HTTP/1.1",
            "requestId": receipt.request_id,
            "requestTime": time.format("%d/%b/%Y:%H:%M:%S %z").to_string(),
            "requestTimeEpoch": time.timestamp_millis(),
            "resourceId": "local",
            "resourcePath": resource,
            "stage": STAGE,
        },
        "body": text,
        "isBase64Encoded": is_base64,
    })
}

type Pairs = BTreeMap<String, Vec<String>>;

fn headers(parts: &Parts, source_ip: IpAddr, receipt: &Receipt) -> Pairs {
    let mut headers = Pairs::new();
    for (name, value) in &parts.headers {
        if !is_hop_by_hop(name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.to_string()).or_default().push(value);
        }
    }
    // The client's list is kept, and the address that the gateway sees is appended.
    let forwarded = headers.remove("x-forwarded-for").unwrap_or_default();
    let forwarded = forwarded
        .into_iter()
        .chain([source_ip.to_string()])
        .collect::<Vec<_>>()
        .join(", ");
    for (name, value) in [
        ("x-amzn-trace-id", receipt.trace_id.clone()),
        ("x-forwarded-for", forwarded),
        ("x-forwarded-port", "443".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
    ] {
        headers.insert(name.to_owned(), vec![value]);
    }
    headers
}

fn is_hop_by_hop(name: &header::HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
}

/// Query parameters. API Gateway (REST) decodes their names and values.
fn query(uri: &Uri) -> Pairs {
    let mut pairs = Pairs::new();
    let decoded = Query::<Vec<(String, String)>>::try_from_uri(uri);
    for (name, value) in decoded.map(|Query(pairs)| pairs).unwrap_or_default() {
        pairs.entry(name).or_default().push(value);
    }
    pairs
}

/// Path parameters of the template. API Gateway does not decode them.
fn path_parameters(resource: &str, path: &str) -> Value {
    let mut parameters = Map::new();
    let mut rest = path;
    for segment in resource.split('/') {
        let (here, after) = rest.split_once('/').unwrap_or((rest, ""));
        let name = segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'));
        match name.map(|name| name.strip_suffix('+').ok_or(name)) {
            Some(Ok(greedy)) => {
                parameters.insert(greedy.to_owned(), rest.into());
            }
            Some(Err(name)) => {
                parameters.insert(name.to_owned(), here.into());
            }
            None => {}
        }
        rest = after;
    }
    or_null(parameters)
}

fn last_values(pairs: &Pairs) -> Value {
    let last = |(name, values): (&String, &Vec<String>)| {
        let value = values.last()?;
        Some((name.clone(), Value::from(value.as_str())))
    };
    or_null(pairs.iter().filter_map(last).collect())
}

fn all_values(pairs: &Pairs) -> Value {
    let all = |(name, values): (&String, &Vec<String>)| (name.clone(), values.clone().into());
    or_null(pairs.iter().map(all).collect())
}

/// API Gateway sends `null` instead of an empty object.
fn or_null(map: Map<String, Value>) -> Value {
    if map.is_empty() {
        Value::Null
    } else {
        Value::Object(map)
    }
}

fn source_ip(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip())
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn event(resource: &str, request: Request<&[u8]>) -> Value {
        let (parts, body) = request.into_parts();
        let receipt = Receipt {
            request_id: "g-1".to_owned(),
            trace_id: "Root=1".to_owned(),
            time: SystemTime::UNIX_EPOCH,
        };
        proxy_event(resource, &parts, body, &receipt)
    }

    fn get(uri: &str) -> Request<&[u8]> {
        Request::get(uri).body([].as_slice()).unwrap()
    }

    #[test]
    fn query_parameters_are_decoded_and_repeated_ones_are_kept() {
        let event = event("/a", get("/a?q=%E5%8F%B0+%26&q=2&empty"));
        assert_eq!(
            event["queryStringParameters"],
            json!({"q": "2", "empty": ""})
        );
        assert_eq!(
            event["multiValueQueryStringParameters"],
            json!({"q": ["台 &", "2"], "empty": [""]})
        );
    }

    #[test]
    fn missing_parameters_and_body_are_null() {
        let event = event("/a", get("/a"));
        for member in [
            "queryStringParameters",
            "multiValueQueryStringParameters",
            "pathParameters",
            "stageVariables",
            "body",
        ] {
            assert_eq!(event[member], Value::Null, "{member}");
        }
        assert_eq!(event["isBase64Encoded"], false);
    }

    #[test]
    fn path_parameters_are_the_raw_segments() {
        let one = event("/chat/{chatId}/messages", get("/chat/4%2F2/messages"));
        assert_eq!(one["pathParameters"], json!({"chatId": "4%2F2"}));
        assert_eq!(one["path"], "/chat/4%2F2/messages");
        assert_eq!(one["resource"], "/chat/{chatId}/messages");
        let greedy = event("/a/{proxy+}", get("/a/b/c"));
        assert_eq!(greedy["pathParameters"], json!({"proxy": "b/c"}));
    }

    #[test]
    fn binary_body_is_sent_as_base64() {
        let bytes: &[u8] = &[0, 255];
        let event = event("/a", Request::post("/a").body(bytes).unwrap());
        assert_eq!(event["body"], "AP8=");
        assert_eq!(event["isBase64Encoded"], true);
    }

    #[test]
    fn headers_have_the_last_value_and_all_values() {
        let request = Request::get("/a")
            .header("x-a", "1")
            .header("x-a", "2")
            .header("x-forwarded-for", "203.0.113.9")
            .header("connection", "close")
            .body([].as_slice())
            .unwrap();
        let event = event("/a", request);
        assert_eq!(event["headers"]["x-a"], "2");
        assert_eq!(event["multiValueHeaders"]["x-a"], json!(["1", "2"]));
        assert_eq!(
            event["headers"]["x-forwarded-for"],
            "203.0.113.9, 127.0.0.1"
        );
        assert_eq!(event["headers"]["connection"], Value::Null);
    }

    #[test]
    fn context_has_the_route_and_the_time() {
        let event = event("/a", get("/a"));
        let context = &event["requestContext"];
        assert_eq!(context["resourcePath"], "/a");
        assert_eq!(context["path"], "/local/a");
        assert_eq!(context["requestTime"], "01/Jan/1970:00:00:00 +0000");
        assert_eq!(context["identity"]["sourceIp"], "127.0.0.1");
    }
}
