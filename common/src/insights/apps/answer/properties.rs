//! Property tests: any accepted answer can be stored.

use std::sync::LazyLock;

use proptest::{prelude::*, sample::select};

use super::tests::good as example;
use super::*;
use crate::insights::apps::background;
use crate::properties::{cases, json, text};

/// The fields of the examples of all apps.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut names = Vec::new();
    for app in background() {
        collect_names(&example(app), &mut names);
    }
    names
});

fn collect_names(value: &Value, names: &mut Vec<&'static str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Object(members) => {
            for (name, value) in members {
                names.push(name.clone().leak());
                collect_names(value, names);
            }
        }
        _ => {}
    }
}

/// An example with its texts and the score replaced.
fn rewritten(value: Value, text: &str, score: i64) -> Value {
    match value {
        Value::String(_) => text.into(),
        Value::Number(_) => score.into(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| rewritten(item, text, score))
            .collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, rewritten(value, text, score)))
            .collect(),
        other => other,
    }
}

/// JSON with the fields of a valid answer, some of them with invalid values.
fn likely() -> impl Strategy<Value = Value> {
    let app = select(background().collect::<Vec<_>>());
    let member = (select(NAMES.clone()), 0..4, json(&NAMES));
    (app, 0..12_i64, text(), member).prop_map(|(app, score, text, (name, replace, other))| {
        let mut answer = rewritten(example(app), &text, score);
        answer[&text] = other.clone();
        if replace == 0 {
            answer[name] = other;
        }
        answer
    })
}

/// The JSON in formats that models use, sometimes truncated.
fn written() -> impl Strategy<Value = String> {
    let value = prop_oneof![3 => likely(), 1 => json(&NAMES)];
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
        app in select(background().collect::<Vec<_>>()),
        text in prop_oneof![4 => written(), 1 => text()],
    ) {
        match check(app, &text) {
            Ok(Checked { json, score }) => {
                prop_assert!(json.is_object() && depth(&json) <= MAX_DEPTH);
                let stored = json.to_string();
                // Without escaped backslashes, `\u0000` can only be a NUL.
                prop_assert!(!stored.replace("\\\\", "").contains("\\u0000"), "{}", stored);
                prop_assert!(serde_json::from_str::<Value>(&stored).is_ok());
                prop_assert_eq!(score.is_some(), example(app).get("score").is_some());
                prop_assert!(score.is_none_or(|score| (1..=10).contains(&score)));
                // A stored answer is accepted again.
                prop_assert_eq!(check(app, &stored).map(|again| again.score), Ok(score));
            }
            Err(bad) => prop_assert!(bad.to_string().is_ascii(), "{}", bad),
        }
    }
}
