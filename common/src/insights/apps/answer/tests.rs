//! Tests with valid and invalid answers.

use serde_json::json;

use super::*;
use crate::insights::apps::background;

const INSIGHT: &str =
    r#"{"insights": [{"seq": 1, "title": "营收上升", "body": "比上期多一成。"}]}"#;
const CLUE: &str = r#"{"category": "消费习惯", "summary": "常打斯诺克", "detail": "近90天14次"}"#;

/// The example of an answer in the instructions of the app, which must be valid.
pub(super) fn good(app: App) -> Value {
    serde_json::from_str(app.definition().unwrap().example()).unwrap()
}

#[test]
fn a_valid_answer_is_accepted_with_its_unknown_fields() {
    for app in background() {
        let mut answer = good(app);
        answer["note"] = json!({ "model": "qwen", "list": [1, null, 2.5] });
        for text in [
            answer.to_string(),
            format!("\u{feff} {answer:#}\n"),
            format!("```json\n{answer}\n```"),
            format!("好的，以下是分析：\n\n```JSON\r\n{answer:#}\r\n```\n希望有帮助。```"),
            format!("先看 ``` 再看```{answer}```"),
        ] {
            let checked = check(app, &text).unwrap_or_else(|err| panic!("{err}: {text}"));
            assert_eq!(checked.json, answer);
            assert_eq!(checked.score.map(Value::from), answer.get("score").cloned());
        }
    }
}

#[test]
fn the_chat_does_not_return_json() {
    assert_eq!(check(App::Chat, INSIGHT), Err(BadAnswer::Text));
}

#[test]
fn a_bare_list_is_a_list_of_insights() {
    let list = good(App::Finance)["insights"].to_string();
    for text in [list.clone(), format!("见下：```json\n{list}\n```")] {
        assert_eq!(check(App::Finance, &text).unwrap().json, good(App::Finance));
    }
    assert_eq!(
        check(App::Clue, &format!("[{CLUE}]"))
            .unwrap_err()
            .to_string(),
        "the answer lacks a field: `clues` in the object itself"
    );
}

#[test]
fn fences_inside_a_string_do_not_end_the_block() {
    let answer = json!({ "tactics": [{ "scenario": "```", "script": "先说\n```json\n{}\n```" }] });
    let text = format!("```json\n{answer}\n```");
    assert_eq!(check(App::Tactics, &text).unwrap().json, answer);
}

#[test]
fn an_answer_that_is_not_json_is_rejected() {
    for text in [
        "",
        " ",
        "抱歉，我无法回答。",
        "{\"insights\": [",
        "```json\n{\"insights\": [\n```",
        "```json\n{\"insights\": []}",
        "```json\n{} 等等\n```",
        "```\n7\n```",
        "以下是结果：{\"insights\": []}",
        "{\"insights\": 1e999}",
        &"[".repeat(100_000),
        "{\"insights\": [\"\\ud800\"]}",
    ] {
        assert_eq!(check(App::Finance, text), Err(BadAnswer::NotJson), "{text}");
    }
    for text in ["7", "null", "\"[]\"", "true"] {
        assert_eq!(check(App::Finance, text), Err(BadAnswer::NotObject));
    }
}

#[test]
fn an_error_names_the_wrong_field_but_contains_nothing_of_the_answer() {
    let error_of = |app, text: &str| check(app, text).unwrap_err().to_string();
    for app in background() {
        assert!(error_of(app, "{}").starts_with("the answer lacks a field: "));
        for field in good(app).as_object().unwrap().keys() {
            let mut answer = good(app);
            answer[field] = json!({ "机密": "机密" });
            assert_eq!(
                error_of(app, &answer.to_string()),
                format!("{field} of the answer has the wrong type")
            );
        }
    }
    assert_eq!(
        error_of(
            App::Finance,
            r#"{"insights": [{"seq": "机密", "title": "", "body": ""}]}"#
        ),
        "insights[0].seq of the answer has the wrong type"
    );
    assert_eq!(
        error_of(
            App::Clue,
            r#"{"clues": [{"category": "机密", "summary": ""}]}"#
        ),
        "the answer lacks a field: `detail` in clues[0]"
    );
}

#[test]
fn only_lists_of_clues_may_be_empty() {
    for app in background() {
        let mut answer = good(app);
        let lists = answer.as_object_mut().unwrap().values_mut();
        for list in lists.filter(|value| value.is_array()) {
            *list = json!([]);
        }
        let checked = check(app, &answer.to_string());
        let may_be = answer.get("clues").is_some();
        assert_eq!(checked.is_ok(), may_be, "{app:?}: {checked:?}");
    }
    let mut answer = good(App::ClueConsolidated);
    answer["clues"][0]["providers"] = json!([]);
    assert_eq!(
        check(App::ClueConsolidated, &answer.to_string()),
        Err(BadAnswer::Empty("providers"))
    );
}

#[test]
fn a_score_must_be_from_1_to_10() {
    for (score, taken) in [
        (json!(1), true),
        (json!(10), true),
        (json!(0), false),
        (json!(11), false),
        (json!(-3), false),
        (json!(7.5), false),
        (json!(u64::MAX), false),
        (json!("7"), false),
        (Value::Null, false),
    ] {
        let mut answer = good(App::NoteAnalysis);
        answer["score"] = score.clone();
        let checked = check(App::NoteAnalysis, &answer.to_string());
        assert_eq!(checked.is_ok(), taken, "{score}: {checked:?}");
    }
}

#[test]
fn nuls_are_removed() {
    let text = r#"{"clues": [], "a\u0000b": ["\u0000", {"c": "d\u0000\\u0000"}]}"#;
    let checked = check(App::Clue, text).unwrap();
    assert_eq!(
        checked.json,
        json!({ "clues": [], "ab": ["", { "c": "d\\u0000" }] })
    );
}

#[test]
fn an_answer_that_is_too_long_or_too_deep_is_rejected() {
    let text = |bytes: usize| {
        let answer = json!({ "clues": [], "x": "" }).to_string();
        answer.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - answer.len())))
    };
    assert!(check(App::Clue, &text(MAX_ANSWER)).is_ok());
    assert_eq!(
        check(App::Clue, &text(MAX_ANSWER + 1)),
        Err(BadAnswer::TooLong)
    );
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        check(
            App::Clue,
            &format!(r#"{{"clues": [], "x": {open}{close}}}"#),
        )
    };
    assert!(nested(MAX_DEPTH - 1).is_ok());
    assert_eq!(nested(MAX_DEPTH), Err(BadAnswer::TooDeep));
    assert_eq!(nested(MAX_DEPTH * 100), Err(BadAnswer::NotJson));
}
