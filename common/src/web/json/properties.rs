//! Any body is parsed, or rejected with an error that names the field.

use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*, sample::select};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::properties::{cases, json, text};

/// A body similar to those of the handlers.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Body {
    chat_id: Option<i64>,
    content: Option<String>,
    page_context: Option<Value>,
}

const NAMES: &[&str] = &["chatId", "content", "pageContext", "title"];

fn read_body(content_type: &[u8], body: Vec<u8>) -> Result<Json<Body>> {
    let request = Request::builder()
        .header(CONTENT_TYPE, content_type)
        .body(body.into());
    let read = Json::from_request(request.unwrap(), &());
    read.now_or_never().unwrap()
}

fn object() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
        json(NAMES),
    ];
    vec((select(NAMES), value), 0..4).prop_map(Value::from_iter)
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_bytes_are_rejected_with_the_documented_error(
        body in prop_oneof![
            4 => vec(any::<u8>(), 0..200),
            1 => (0..200_000_usize).prop_map(|length| vec![b'['; length]),
            1 => (MAX_BODY - 20..MAX_BODY + 20).prop_map(|length| vec![b' '; length]),
        ],
        kind in vec(prop_oneof![32..127_u8, 128..=255_u8], 0..40),
    ) {
        let length = body.len();
        match read_body(b"application/json", body.clone()) {
            Err(Error::PayloadTooLarge) => prop_assert!(length > MAX_BODY),
            Err(Error::InvalidJson) => prop_assert!(length <= MAX_BODY),
            Err(Error::Invalid { field, .. }) => prop_assert_eq!(field, "body"),
            other => prop_assert!(false, "{:?}", other.map(|Json(body)| body)),
        }
        // The size is checked before the content type.
        match read_body(&kind, body) {
            Err(Error::PayloadTooLarge) => prop_assert!(length > MAX_BODY),
            Err(Error::UnsupportedMediaType) => prop_assert!(length <= MAX_BODY),
            other => prop_assert!(false, "{:?}", other.map(|Json(body)| body)),
        }
    }

    #[test]
    fn any_json_is_parsed_or_rejected_with_the_name_of_its_field(body in prop_oneof![4 => object(), 1 => json(NAMES)]) {
        let wrong: Vec<&str> = [
            ("chatId", body["chatId"].is_null() || body["chatId"].is_i64()),
            ("content", body["content"].is_null() || body["content"].is_string()),
        ]
        .into_iter()
        .filter_map(|(name, fits)| (!fits).then_some(name))
        .collect();
        match read_body(b"application/json; charset=utf-8", body.to_string().into_bytes()) {
            Ok(Json(read)) => {
                prop_assert!(body.is_object() && wrong.is_empty());
                let expected = Body {
                    chat_id: body["chatId"].as_i64(),
                    content: body["content"].as_str().map(str::to_owned),
                    page_context: body.get("pageContext").filter(|context| !context.is_null()).cloned(),
                };
                prop_assert_eq!(read, expected);
            }
            Err(Error::Invalid { field, reason }) => {
                prop_assert_eq!(reason, Reason::Type);
                let expected: &[&str] = if body.is_object() { &wrong } else { &["body"] };
                prop_assert!(expected.contains(&&*field), "{} in {}", field, body);
            }
            Err(error) => prop_assert!(false, "{} in {}", error, body),
        }
    }

    #[test]
    fn only_json_content_types_are_accepted(
        kind in select(vec!["application", "text", "APPLICATION", " application", ""]),
        name in select(vec!["json", "JSON", "problem+json", "x+json", "jsonx", "xml", "json+x", ""]),
        parameters in select(vec!["", ";charset=utf-8", "; charset=\"x\"", " ;", ";,"]),
    ) {
        let content_type = format!("{kind}/{name}{parameters}");
        let name = name.to_lowercase();
        let fits = kind.trim().eq_ignore_ascii_case("application") && (name == "json" || name.ends_with("+json"));
        let read = read_body(content_type.as_bytes(), json!({}).to_string().into_bytes());
        prop_assert_eq!(read.is_ok(), fits, "{}", content_type);
        prop_assert!(fits || matches!(read, Err(Error::UnsupportedMediaType)));
    }
}
