//! Properties of the payload parser: any bytes are parsed or give an error.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::properties::{cases, json, text};

/// All field names that the parser knows.
const NAMES: &[&str] = &[
    "output",
    "text",
    "session_id",
    "finish_reason",
    "workflow_message",
    "thoughts",
    "doc_references",
    "message",
    "content",
    "usage",
    "models",
    "input_tokens",
    "output_tokens",
    "request_id",
    "requestId",
    "code",
    "error",
];

/// Text that is often longer than the limits.
fn long_text() -> impl Strategy<Value = String> {
    (text(), prop_oneof![Just(1), 1..400_usize]).prop_map(|(text, times)| text.repeat(times))
}

/// A payload with all fields.
fn whole() -> Value {
    json!({
        "output": { "text": "收到", "session_id": "s", "finish_reason": "stop" },
        "usage": { "models": [{ "input_tokens": 3, "output_tokens": 4 }] },
        "request_id": "r",
        "code": "C",
        "message": "m",
    })
}

/// The payload without its field `name`.
fn without(mut payload: Payload, name: &str) -> Payload {
    match name {
        "output" => {
            return Payload {
                has_output: false,
                text: Piece::default(),
                source: Source::default(),
                ends_node: false,
                progress: None,
                references: Vec::new(),
                session_id: None,
                finish_reason: None,
                ..payload
            };
        }
        "text" => payload.text = Piece::default(),
        "session_id" => payload.session_id = None,
        "finish_reason" => payload.finish_reason = None,
        "thoughts" => payload.progress = None,
        "doc_references" => payload.references = Vec::new(),
        "usage" => payload.usage = None,
        "request_id" => payload.request_id = None,
        "code" => payload.code = None,
        "message" => payload.message = None,
        _ => {}
    }
    payload
}

/// The expected sums for `usage`, from a simpler parser.
fn reported(usage: &Value) -> Option<(i64, i64)> {
    let count = |value: &Value, name: &str| {
        let count = value.as_object()?.get(name)?.as_u64()?;
        u32::try_from(count).ok().map(i64::from)
    };
    let counts = |value: &Value| {
        Some((
            count(value, "input_tokens")?,
            count(value, "output_tokens")?,
        ))
    };
    let each: Vec<_> = match usage.as_object()?.get("models") {
        Some(Value::Array(models)) if !models.is_empty() => models.iter().map(counts).collect(),
        None | Some(Value::Null | Value::Array(_)) => vec![counts(usage)],
        Some(_) => return None,
    };
    each.into_iter().try_fold((0, 0), |sum, each| {
        let (input_tokens, output_tokens) = each?;
        Some((sum.0 + input_tokens, sum.1 + output_tokens))
    })
}

fn usage() -> impl Strategy<Value = Value> {
    let counts = (any::<u32>(), 0..100_u32)
        .prop_map(|(read, written)| json!({ "input_tokens": read, "output_tokens": written }));
    let pair = Just(json!([3, 4]));
    let model = prop_oneof![16 => counts.clone(), 1 => pair, 1 => json(NAMES)];
    let models = prop_oneof![4 => vec(model, 0..4).prop_map(Value::from), 1 => json(NAMES)];
    let both = (models, counts).prop_map(|(models, mut counts)| {
        counts["models"] = models;
        counts
    });
    prop_oneof![2 => both, 1 => json(NAMES)]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Payload::parse(&bytes);
    }

    #[test]
    fn exactly_json_objects_are_accepted(value in json(NAMES)) {
        prop_assert_eq!(Payload::parse(value.to_string().as_bytes()).is_ok(), value.is_object());
    }

    #[test]
    fn all_fields_except_text_are_short_and_without_nul(
        output in prop::collection::hash_map(select(NAMES), long_text(), 0..6),
        top in prop::collection::hash_map(select(NAMES), long_text(), 0..6),
        nested in any::<bool>(),
    ) {
        let mut body = json!(top);
        body[if nested { "error" } else { "output" }] = json!(output);
        let payload = Payload::parse(body.to_string().as_bytes()).unwrap();
        for (word, most) in [
            (payload.message, MESSAGE_LENGTH),
            (payload.code, WORD_LENGTH),
            (payload.request_id, WORD_LENGTH),
            (payload.session_id, WORD_LENGTH),
            (payload.finish_reason, WORD_LENGTH),
        ] {
            let Some(word) = word else { continue };
            prop_assert!(!word.is_empty() && word.chars().count() <= most);
            prop_assert!(!word.contains('\0'));
        }
    }

    #[test]
    fn text_is_unchanged_in_each_shape(pieces in vec(text(), 0..4)) {
        let objects: Vec<Value> = pieces.iter().map(|piece| json!({ "text": piece })).collect();
        let expected = pieces.concat();
        for output in [
            json!({ "text": &expected, "finish_reason": "null" }),
            json!({ "text": &pieces }),
            json!({ "text": &objects }),
            json!({ "text": "", "workflow_message": { "message": { "content": &expected } } }),
            json!({ "text": null, "workflow_message": { "message": { "content": &objects } } }),
        ] {
            let payload = Payload::parse(json!({ "output": output }).to_string().as_bytes()).unwrap();
            prop_assert_eq!(&payload.text, &Piece::from(expected.clone()), "{}", output);
        }
    }

    #[test]
    fn field_of_an_unexpected_type_does_not_affect_others(
        name in select(NAMES),
        value in json(NAMES),
        within in any::<bool>(),
    ) {
        let expected = Payload::parse(whole().to_string().as_bytes()).unwrap();
        let mut changed = whole();
        let within = within && name != "output" && name != "usage";
        if within {
            changed["output"][name] = value;
        } else {
            changed[name] = value;
        }
        let affected = match (within, name) {
            (true, "text" | "session_id" | "finish_reason" | "thoughts" | "doc_references")
            | (false, "output" | "usage" | "request_id" | "code" | "message") => name,
            _ => "nothing",
        };
        let read = Payload::parse(changed.to_string().as_bytes()).unwrap();
        prop_assert_eq!(without(read, affected), without(expected, affected), "{}", changed);
    }

    #[test]
    fn usage_is_never_estimated(usage in usage()) {
        let json = usage.to_string();
        let object: Object<Reported> = serde_json::from_str(&json).unwrap();
        let parsed = object.0.as_ref().and_then(Usage::parse);
        let sums = parsed.map(|usage| (usage.input_tokens(), usage.output_tokens()));
        prop_assert_eq!(sums, reported(&usage));
    }

    #[test]
    fn error_is_the_same_in_each_shape(
        code in "[A-Za-z.]{1,40}",
        message in "\\PC{1,60}",
        request_id in "[0-9a-f-]{1,36}",
    ) {
        let error = json!({ "code": &code, "message": &message, "request_id": &request_id });
        let camel = json!({ "code": &code, "message": &message, "requestId": &request_id });
        let beside = json!({ "error": { "code": &code, "message": &message }, "request_id": &request_id });
        for body in [error.clone(), camel.clone(), json!({ "error": error }), json!({ "error": camel }), beside] {
            let payload = Payload::parse(body.to_string().as_bytes()).unwrap();
            prop_assert!(payload.is_error());
            prop_assert_eq!(payload.code.as_deref(), Some(&*code));
            prop_assert_eq!(payload.message.as_deref(), Some(&*message));
            prop_assert_eq!(payload.request_id.as_deref(), Some(&*request_id));
        }
    }
}
