//! Whatever comes as path, query, header or body, it is read or refused by its field.

use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*, sample::select};
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::properties::{cases, encoded, json, number, query, raw_query, text, whole};

/// A body as the handlers have them.
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
    fn a_parameter_is_read_as_it_was_sent_and_is_refused_when_it_is_there_twice_or_holds_a_nul(
        pairs in vec((prop_oneof![3 => Just("page".to_owned()), 1 => text()], text()), 0..4),
        space in select(vec!["+", "%20"]),
    ) {
        let query = raw_query(&encoded(&pairs).replace("%20", space));
        let sent: Vec<&String> = pairs.iter().filter(|(name, _)| name == "page").map(|(_, value)| value).collect();
        match (query.text("page"), &*sent) {
            (Ok(None), []) => {}
            (Ok(Some(read)), [value]) => {
                prop_assert_eq!(read, *value);
                prop_assert!(!read.contains('\0'));
            }
            (Err(Error::Invalid { field, reason }), _) => {
                prop_assert_eq!(field, "page");
                let right = match reason {
                    Reason::Repeated => sent.len() > 1,
                    Reason::Nul => sent.len() == 1 && sent[0].contains('\0'),
                    _ => false,
                };
                prop_assert!(right, "{:?}", reason);
            }
            (read, _) => prop_assert!(false, "{:?} of {:?}", read, pairs),
        }
    }

    #[test]
    fn any_query_is_read_or_refused(
        query in prop_oneof![
            "[!$-;=?-Z_a-z~%&+]{0,30}",
            vec(select(vec!["page", "=", "&", "%", "%0", "%00", "%FF", "%E6%94", "+", "1", "%31"]), 0..8)
                .prop_map(|pieces| pieces.concat()),
        ],
    ) {
        let query = raw_query(&query);
        for read in [query.text("page").map(drop), query.integer("page", 1, 9).map(drop)] {
            let told = matches!(read, Ok(()) | Err(Error::Invalid { .. }));
            prop_assert!(told);
        }
    }

    #[test]
    fn a_number_is_taken_exactly_when_it_is_whole_and_within_its_bounds(text in number(), least in -3..5_i64, most in 0..120_i64) {
        let fits = whole(&text).filter(|number| (least..=most).contains(number));
        let read = query(&[("page", &text)]).integer("page", least, most);
        prop_assert_eq!(read.ok(), fits.map(Some));
    }

    #[test]
    fn an_id_is_taken_exactly_when_it_is_whole_and_positive(text in number()) {
        let path = PathText(HashMap::from([("chatId".to_owned(), text.clone())]));
        let fits = whole(&text).filter(|id| *id > 0);
        prop_assert_eq!(path.id("chatId").ok(), fits);
        prop_assert!(path.id("messageId").is_err());
    }

    #[test]
    fn a_body_of_any_bytes_is_refused_as_documented(
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
        // What it is declared as is looked at after its size.
        match read_body(&kind, body) {
            Err(Error::PayloadTooLarge) => prop_assert!(length > MAX_BODY),
            Err(Error::UnsupportedMediaType) => prop_assert!(length <= MAX_BODY),
            other => prop_assert!(false, "{:?}", other.map(|Json(body)| body)),
        }
    }

    #[test]
    fn a_body_of_any_json_is_read_or_refused_by_the_name_of_its_field(body in prop_oneof![4 => object(), 1 => json(NAMES)]) {
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
    fn only_json_is_taken_for_json(
        kind in select(vec!["application", "text", "APPLICATION", " application", ""]),
        name in select(vec!["json", "JSON", "problem+json", "x+json", "jsonx", "xml", "json+x", ""]),
        parameters in select(vec!["", ";charset=utf-8", "; charset=\"x\"", " ;", ";,"]),
    ) {
        let said = format!("{kind}/{name}{parameters}");
        let name = name.to_lowercase();
        let fits = kind.trim().eq_ignore_ascii_case("application") && (name == "json" || name.ends_with("+json"));
        let read = read_body(said.as_bytes(), json!({}).to_string().into_bytes());
        prop_assert_eq!(read.is_ok(), fits, "{}", said);
        prop_assert!(fits || matches!(read, Err(Error::UnsupportedMediaType)));
    }

    #[test]
    fn a_uuid_is_read_in_the_form_that_all_clients_write_and_in_no_other(
        id in any::<u128>().prop_map(Uuid::from_u128),
        upper in any::<bool>(),
        odd in prop_oneof![text(), "[0-9a-f-]{30,40}", "(?s).{36}"],
    ) {
        let written = id.hyphenated().to_string();
        let written = if upper { written.to_uppercase() } else { written };
        prop_assert_eq!(uuid("id", &written).unwrap(), id);
        prop_assert_eq!(query(&[("id", &written)]).uuid("id").unwrap(), Some(id));
        let others = [
            id.simple().to_string(),
            id.braced().to_string(),
            id.urn().to_string(),
            format!(" {written}"),
            written[1..].to_owned(),
        ];
        for other in others {
            let refused = matches!(uuid("id", &other), Err(Error::Invalid { reason: Reason::NotAnId, .. }));
            prop_assert!(refused, "{}", other);
        }
        if let Ok(id) = uuid("id", &odd) {
            prop_assert_eq!(id.hyphenated().to_string(), odd.to_lowercase());
        }
    }

    #[test]
    fn a_header_is_what_it_was_sent_as_unless_it_was_sent_twice(
        values in vec(vec(any::<u8>().prop_filter("of a header", |byte| *byte >= 32 && *byte != 127), 0..20), 0..4),
    ) {
        let mut headers = HeaderMap::new();
        for value in &values {
            headers.append("idempotency-key", http::HeaderValue::from_bytes(value).unwrap());
        }
        headers.append("x-other", http::HeaderValue::from_static("x"));
        let headers = HeaderText(headers);
        match (headers.once("Idempotency-Key"), &*values) {
            (Ok(None), []) | (Err(Error::Invalid { reason: Reason::Repeated, .. }), [_, _, ..]) => {}
            (Ok(Some(read)), [value]) => prop_assert_eq!(read, &**value),
            (read, _) => prop_assert!(false, "{:?}", read),
        }
    }
}
