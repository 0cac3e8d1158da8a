//! Property tests: a page context is valid exactly by the documented rule.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::properties::{cases, json, text};

/// The length of a value's JSON without spaces, in bytes, calculated without `serde_json`.
fn length(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => quoted(text),
        Value::Array(items) => around(items.len()) + items.iter().map(length).sum::<usize>(),
        Value::Object(members) => {
            let inner = members
                .iter()
                .map(|(name, value)| quoted(name) + 1 + length(value));
            around(members.len()) + inner.sum::<usize>()
        }
    }
}

/// Length of brackets and commas.
fn around(items: usize) -> usize {
    2 + items.saturating_sub(1)
}

fn quoted(text: &str) -> usize {
    let each = text.chars().map(|character| match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..'\u{20}' => 6,
        other => other.len_utf8(),
    });
    2 + each.sum::<usize>()
}

/// True if the value contains a NUL. Removes escaped backslashes, so `\u0000` can only be a NUL.
fn contains_nul_by_text(value: &Value) -> bool {
    let json = value.to_string().replace("\\\\", "");
    json.contains("\\u0000")
}

fn context() -> impl Strategy<Value = Option<Value>> {
    let any_json = || json(&["contextId", "from", "to", "filters"]);
    // Sizes near the limit, filled with characters that take one to six bytes in JSON.
    let filler = select(vec!["x", "\"", "\n", "\u{1}", "收", "🎱", "\\u0000"]);
    let edge = (filler, 4_090..4_100_usize).prop_map(|(filler, bytes)| {
        let room = bytes - length(&Value::from_iter([("contextId", "")]));
        let each = quoted(filler) - 2;
        let text = filler.repeat(room / each) + &"x".repeat(room % each);
        Value::from_iter([("contextId", text)])
    });
    let object = any_json().prop_map(|value| Value::from_iter([("filters", value)]));
    prop_oneof![
        1 => Just(None),
        2 => any_json().prop_map(Some),
        4 => object.prop_map(Some),
        2 => edge.prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_page_context_is_valid_exactly_by_the_documented_rule(
        source_page in prop_oneof![
            Just(None),
            select(vec![
                "board-finance", "board-customer", "board-coach", "task-detail", "customer-detail",
                "coach-detail", "performance",
            ]).prop_map(|name| Some(name.to_owned())),
            "(board|task|coach)-(finance|detail|coach)".prop_map(Some),
            text().prop_map(Some),
        ],
        context in context(),
    ) {
        let known = source_page.as_deref().is_none_or(|name| matches!(
            name,
            "board-finance" | "board-customer" | "board-coach" | "task-detail" | "customer-detail"
                | "coach-detail" | "performance"
        ));
        let fits = context.as_ref().is_none_or(|context| {
            context.is_object() && length(context) <= 4_096 && !contains_nul_by_text(context)
        });
        match PageRequest::parse(source_page.as_deref(), context.clone()) {
            Ok(request) => {
                prop_assert!(known && fits);
                prop_assert_eq!(request.is_some(), source_page.is_some());
                let expected = context.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
                prop_assert!(request.is_none_or(|request| request.context == expected));
            }
            Err(Error::Invalid { field, .. }) => match &*field {
                "pageContext" => prop_assert!(!fits),
                "sourcePage" => prop_assert!(!known),
                other => prop_assert!(false, "{}", other),
            },
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
