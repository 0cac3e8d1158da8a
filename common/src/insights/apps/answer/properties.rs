//! Property tests: any accepted answer can be stored.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::properties::{cases, json, text};

const NAMES: &[&str] = &[
    "insights",
    "seq",
    "title",
    "body",
    "clues",
    "category",
    "summary",
    "detail",
    "providers",
    "task_description",
    "action_suggestions",
    "one_line_summary",
    "tactics",
    "strategies",
    "score",
];

/// JSON with the fields of a valid answer, some of them with invalid values.
fn likely() -> impl Strategy<Value = Value> {
    let list = prop_oneof![
        Just(serde_json::json!([])),
        text().prop_map(|text| {
            let item = |name: &str| (name.to_owned(), Value::from(text.clone()));
            let mut item = Value::from_iter(
                [
                    "title", "body", "category", "summary", "detail", "scenario", "script",
                    "content",
                ]
                .map(item),
            );
            item["seq"] = Value::from(1);
            item["providers"] = Value::from_iter([text.as_str()]);
            Value::from_iter([item])
        }),
        json(NAMES),
    ];
    let lists = ["insights", "clues", "tactics", "strategies"];
    (list, 0..12_i64, text(), json(NAMES)).prop_map(move |(list, score, text, other)| {
        let mut answer = Value::from_iter(lists.map(|name| (name, list.clone())));
        answer["score"] = Value::from(score);
        answer["summary"] = Value::from(text.as_str());
        answer["task_description"] = Value::from(text.as_str());
        answer["one_line_summary"] = Value::from(text.as_str());
        answer["action_suggestions"] = Value::from_iter([text.as_str()]);
        answer[&text] = other;
        answer
    })
}

/// The JSON in formats that models use, sometimes truncated.
fn written() -> impl Strategy<Value = String> {
    let value = prop_oneof![3 => likely(), 1 => json(NAMES)];
    let form = select(vec![
        "{}",
        "```json\n{}\n```",
        "好的：```{}```。",
        "```\n{}",
        "{}{}",
    ]);
    (value, form, any::<prop::sample::Index>(), 0..4).prop_map(|(value, form, at, cut)| {
        let mut text = form.replace("{}", &value.to_string());
        if cut == 0 {
            let end = (0..=at.index(text.len() + 1)).rfind(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
        }
        text
    })
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn every_accepted_answer_can_be_stored(
        app in select(App::ALL.to_vec()),
        text in prop_oneof![4 => written(), 1 => text()],
    ) {
        match check(app, &text) {
            Ok(Checked { json, score }) => {
                prop_assert!(json.is_object() && depth(&json) <= MAX_DEPTH);
                let stored = json.to_string();
                // Without escaped backslashes, `\u0000` can only be a NUL.
                prop_assert!(!stored.replace("\\\\", "").contains("\\u0000"), "{}", stored);
                prop_assert!(serde_json::from_str::<Value>(&stored).is_ok());
                prop_assert_eq!(score.is_some(), app == App::NoteAnalysis);
                prop_assert!(score.is_none_or(|score| (1..=10).contains(&score)));
                // A stored answer is accepted again.
                prop_assert_eq!(check(app, &stored).map(|again| again.score), Ok(score));
            }
            Err(bad) => prop_assert!(bad.to_string().is_ascii(), "{}", bad),
        }
    }
}
