//! The results of the simulator are valid, and use the facts in the prompt.

use common::governance::apps::App as ParlorApp;
use common::insights::apps;
use serde_json::json;

use super::*;

/// Parlor's app with this id.
fn parlor_app(app_id: &str) -> ParlorApp {
    ParlorApp::parse(app_id).unwrap()
}

/// Returns a checked result for these facts. The prompt also has other facts, which the result must
/// not use.
fn answer(app_id: &str, facts: &Value) -> Value {
    let elsewhere = json!({ "会员": { "会员姓名": "别人" }, "各来源线索": [{ "线索": [{ "category": "别人" }] }] });
    let prompt = json!({ "任务要求": "只输出 JSON：{\"别人\": 1}", "事实": facts, "参考": [{ "结果": elsewhere }] });
    let answer = App::of(app_id).unwrap().answer(&prompt.to_string());
    apps::check(parlor_app(app_id), &answer.to_string())
        .unwrap_or_else(|err| panic!("{err}: {answer}"));
    assert!(!answer.to_string().contains("别人"), "{answer}");
    answer
}

fn member(name: &str, days: Option<i64>, visits: i64) -> Value {
    json!({ "会员": {
        "会员姓名": name, "会员等级": "金卡", "储值余额": 320.5, "常去区域": "斯诺克区", "常来时段": "工作日晚上", "负责教练": "阿杰",
        "距上次到店天数": days, "近30天到店次数": 5, "近30天消费": 680.0, "近90天到店次数": visits, "近90天消费": 1904.0,
        "消费明细": [{ "日期": "2026-05-30", "区域": "大厅", "项目": "陪练课", "分钟": 90, "金额": 204.0, "有教练": true }],
        "备注": [{ "日期": "2026-05-20", "记录人": "阿杰", "内容": "爱喝乌龙茶[[sim:cut]]" }],
    } })
}

#[track_caller]
fn assert_contains(answer: &Value, words: &[&str]) {
    let text = answer.to_string();
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn apps_are_found_by_their_numbers_or_words() {
    let number = |app_id| App::of(app_id).map(|app| app.number);
    for app in apps::background() {
        let (expected, _) = app.name().split_once('_').unwrap();
        assert_eq!(number(app.name()), Some(expected));
    }
    assert_eq!(number("app1_chat"), None);
    assert_eq!(number("sim-cut-finance_area"), Some("app2a"));
    assert_eq!(number("sim-cut-customer_analysis"), Some("app7"));
    assert_eq!(number("sim-cut-clue"), Some("app3"));
}

#[test]
fn result_for_any_prompt_has_the_right_shape() {
    for app in apps::background() {
        for prompt in [
            "",
            "在吗",
            "{}",
            "[{}]",
            r#"{"事实":null}"#,
            r#"{"事实":{"会员":7,"财务":[]}}"#,
        ] {
            let answer = App::of(app.name()).unwrap().answer(prompt);
            let checked = apps::check(app, &answer.to_string());
            assert!(checked.is_ok(), "{app:?} {prompt}: {answer}");
        }
    }
}

#[test]
fn insights_use_figures_of_a_prompt_with_other_labels() {
    let prompt = r#"{"period": "today", "revenue": 12800.5, "orders": 42}"#;
    let answer = App::of("app2_finance").unwrap().answer(prompt);
    let titles: Vec<_> = list(&answer, "insights")
        .iter()
        .map(|one| &one["title"])
        .collect();
    assert_eq!(titles, ["orders：42", "revenue：12800.5"]);
}

#[test]
fn insights_compare_periods_areas_and_days() {
    let totals = |revenue: f64| json!({ "营收": revenue, "订单数": 120, "会员订单数": 30, "新增会员": 3, "储值充值": 2000.0 });
    let area = |name: &str, revenue: f64, before: f64| json!({ "区域": name, "营收": revenue, "订单数": 60, "上一周期营收": before });
    let day = |weekday: &str, revenue: f64| json!({ "日期": "2026-06-06", "星期": weekday, "营收": revenue, "订单数": 20 });
    let facts = json!({ "周期": "上周", "区域": "全部区域", "财务": {
        "合计": totals(12_000.0), "上一周期": totals(10_000.0),
        "各区域": [area("包厢", 3_000.0, 4_000.0), area("大厅", 9_000.0, 6_000.0)],
        "每日": [day("周五", 2_000.0), day("周六", 4_000.0), day("周日", 3_000.0)],
    } });
    let insights = answer("app2_finance", &facts);
    assert_contains(
        &insights,
        &[
            "上周",
            "12000元",
            "上升20.0%",
            "大厅是最强区域，占营收75.0%",
            "周六",
            "25.0%",
        ],
    );
    let areas = answer("app2a_finance_area", &facts);
    assert_contains(
        &areas,
        &["第1名大厅", "上升50.0%", "第2名包厢", "下降25.0%"],
    );
}

#[test]
fn different_members_get_different_results() {
    let (active, gone) = (member("李思远", Some(3), 14), member("王芳", Some(40), 4));
    for app_id in [
        "app3_clue",
        "app4_analysis",
        "app5_tactics",
        "app7_customer_analysis",
    ] {
        let [one, other] = [&active, &gone].map(|facts| answer(app_id, facts));
        assert_ne!(one, other);
        assert_contains(&one, &["李思远", "斯诺克区"]);
        assert_contains(&other, &["王芳"]);
    }
    assert_contains(
        &answer("app3_clue", &active),
        &["近90天到店14次", "1904元", "常去斯诺克区", "已上过1次陪练"],
    );
    assert_contains(
        &answer("app7_customer_analysis", &active),
        &["稳住到店频次", "“爱喝乌龙茶”"],
    );
    assert_contains(
        &answer("app7_customer_analysis", &gone),
        &["距上次到店40天", "流失挽回"],
    );
    let sleeping = answer("app3_clue", &member("赵六", None, 0));
    assert_contains(&sleeping, &["近90天没有到店"]);
}

#[test]
fn task_and_analysis_are_used() {
    let mut facts = member("李思远", Some(3), 14);
    facts["任务"] = json!({ "任务": "提醒余额", "说明": "储值卡余额不多了。", "教练": "大飞", "截止日期": "2026-06-08" });
    facts["最新线索"] = json!({ "clues": [{ "summary": "想参加比赛" }] });
    facts["分析结果"] = json!({ "one_line_summary": "常客，余额不足" });
    assert_contains(
        &answer("app4_analysis", &facts),
        &["大飞", "提醒余额", "2026-06-08", "想参加比赛"],
    );
    assert_contains(&answer("app5_tactics", &facts), &["常客，余额不足"]);
}

#[test]
fn score_of_a_note_depends_on_its_content() {
    let score = |content: &str| {
        let mut facts = member("李思远", Some(3), 14);
        facts["备注"] = json!({ "日期": "2026-06-01", "记录人": "阿杰", "内容": content });
        let answer = answer("app6_note_analysis", &facts);
        (
            answer["score"].as_i64().unwrap(),
            list(&answer, "clues").len(),
        )
    };
    assert_eq!(score("好的"), (1, 0));
    let some = score("想参加下个月的店内比赛，希望有人陪练走位。");
    let more = score("想参加比赛，喜欢安静的台子，常和朋友来，最近嫌离家远，问了陪练的价格。");
    assert!(
        some.0 > 1 && some.1 > 0 && more > some && more.0 <= 10,
        "{some:?} {more:?}"
    );
}

#[test]
fn merged_clues_name_all_their_sources() {
    let clue = |category: &str, summary: &str| json!({ "category": category, "summary": summary, "detail": "依据" });
    let facts = json!({ "会员姓名": "李思远", "各来源线索": [
        { "来源": "消费线索", "线索": [clue("到店频次", "近90天14次"), clue("消费习惯", "常打斯诺克")] },
        { "来源": "备注线索", "线索": [clue("消费习惯", "爱喝乌龙茶")] },
    ] });
    let answer = answer("app8_clue_consolidated", &facts);
    let clues = list(&answer, "clues");
    assert_eq!(clues.len(), 2);
    assert_eq!(clues[0]["providers"], json!(["消费线索"]));
    assert_eq!(clues[1]["providers"], json!(["消费线索", "备注线索"]));
    assert_eq!(clues[1]["summary"], "常打斯诺克；爱喝乌龙茶");
}
