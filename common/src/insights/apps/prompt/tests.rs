//! Tests of shortening.

use serde_json::json;

use super::*;
use crate::insights::apps::{app3_clue, app6_note_analysis, app7_customer_analysis, samples};

#[track_caller]
fn read(prompt: &str) -> Value {
    assert!(fits(prompt), "{}", prompt.chars().count());
    serde_json::from_str(prompt).unwrap()
}

#[test]
fn two_references_are_included_and_the_older_is_omitted_first() {
    let facts = samples::member(1);
    let prompt = |characters| {
        let references = samples::references(characters);
        read(&app3_clue::prompt(
            &app3_clue::Facts { member: &facts },
            &references,
        ))
    };
    let shown = |prompt: &Value| prompt["参考"].as_array().map_or(0, Vec::len);
    assert_eq!(shown(&prompt(1)), 2);
    let one = prompt(20_000);
    assert_eq!(shown(&one), 1);
    assert_eq!(one["参考"][0]["时间"], "2026-06-02T08:30:00Z");
    let none = prompt(40_000);
    assert!(none.get("参考").is_none());
    assert_eq!(
        none["事实"]["会员"]["消费明细"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn the_oldest_orders_are_omitted_after_the_references() {
    let member = samples::member(600);
    let prompt = app3_clue::prompt(
        &app3_clue::Facts { member: &member },
        &samples::references(1),
    );
    let orders = read(&prompt)["事实"]["会员"]["消费明细"].clone();
    let orders = orders.as_array().unwrap();
    assert!((100..600).contains(&orders.len()), "{}", orders.len());
    assert_eq!(orders[0]["项目"], "台费0");
    // One more order would not have fitted.
    assert!(prompt.chars().count() > MAX_PROMPT_CHARS - 100);
}

#[test]
fn long_texts_are_cut_last_and_the_prompt_stays_valid_json() {
    let member = samples::member(200);
    let note = samples::note(&"长\"".repeat(100_000));
    let facts = app6_note_analysis::Facts {
        note: &note,
        member: &member,
    };
    let cut = read(&app6_note_analysis::prompt(&facts, &[]));
    assert_eq!(cut["事实"]["会员"]["会员姓名"], "李思远");
    assert!(
        cut["事实"]["备注"]["内容"]
            .as_str()
            .unwrap()
            .starts_with("长")
    );

    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!({ "层": [deep], "长长长": 1 });
    }
    for clues in [
        json!(vec![samples::clues(); 5_000]),
        json!({ "长".repeat(100_000): 1 }),
        (0..20_000).map(|index| (format!("{index}"), 1)).collect(),
        json!(vec![deep; 1_000]),
    ] {
        let facts = app7_customer_analysis::Facts {
            member: &member,
            clues: Some(&clues),
        };
        let cut = read(&app7_customer_analysis::prompt(&facts, &[]));
        assert!(cut["事实"].is_object());
    }
}
