//! Apps that return JSON: their prompts, their facts and their checked results.

use std::time::Duration;

use common::{
    Error,
    dashscope::{Call, Config, DashScope},
    governance::apps::App,
    insights::{
        apps::{
            self, Checked, Reference, app2_finance, app2a_finance_area, app3_clue, app4_analysis,
            app5_tactics, app6_note_analysis, app7_customer_analysis, app8_clue_consolidated,
        },
        facts::{self, MemberFacts, NoteFacts, Period},
    },
};
use serde_json::{Value, json};
use sqlx::types::Json;
use tokio::time::Instant;

use crate::harness::parlor::{COACH, Parlor, Setup};

const SITE: i64 = 1;

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

impl Parlor {
    /// Calls an app and checks its answer. The answer must survive storage as `jsonb`.
    async fn call_app(&self, app: App, prompt: &str) -> Checked {
        let mut config = Config::new("sk-test".into());
        config.base_url = self.simulator.base_url();
        let call = Call {
            app_id: app.name().to_owned(),
            prompt: prompt.to_owned(),
            ..Call::default()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let client = DashScope::new(config).unwrap();
        let text = client.complete(&call, deadline).await.unwrap().text;
        let checked = apps::check(app, &text).unwrap_or_else(|err| panic!("{err}: {text}"));
        assert_eq!(self.stored(&checked.json).await, checked.json);
        checked
    }

    async fn stored(&self, json: &Value) -> Value {
        let read: Json<Value> = sqlx::query_scalar("select $1::jsonb")
            .bind(Json(json))
            .fetch_one(&self.db)
            .await
            .unwrap();
        read.0
    }

    async fn member(&self, member_id: i64) -> MemberFacts {
        facts::member(&self.db, SITE, member_id, 200).await.unwrap()
    }

    /// The note with the lowest id.
    async fn note(&self) -> NoteFacts {
        let note_id = self
            .id("select min(note_id) from dws.member_note where site_id = 1")
            .await;
        facts::note(&self.db, SITE, note_id).await.unwrap()
    }

    async fn id(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.db).await.unwrap()
    }
}

#[tokio::test]
async fn each_step_of_a_member_chain_is_about_the_member() {
    let parlor = parlor().await;
    let note = parlor.note().await;
    let mut texts = Vec::new();
    for member_id in [note.member_id, note.member_id + 1] {
        let member = parlor.member(member_id).await;
        let member = &member;
        let of_orders = app3_clue::prompt(&app3_clue::Facts { member }, &[]);
        let of_orders = parlor.call_app(App::Clue, &of_orders).await.json;
        let of_note = app6_note_analysis::prompt(
            &app6_note_analysis::Facts {
                note: &note,
                member,
            },
            &[],
        );
        let of_note = parlor.call_app(App::NoteAnalysis, &of_note).await;
        assert!(of_note.score.is_some_and(|score| score > 1));

        let consolidated = app8_clue_consolidated::Facts {
            name: member.name(),
            sources: &[(App::Clue, &of_orders), (App::NoteAnalysis, &of_note.json)],
        };
        let consolidated = app8_clue_consolidated::prompt(&consolidated, &[]);
        let clues = parlor
            .call_app(App::ClueConsolidated, &consolidated)
            .await
            .json;
        let text = clues.to_string();
        assert!(
            text.contains("消费线索") && text.contains("备注线索"),
            "{text}"
        );

        let clues = Some(&clues);
        let customer = app7_customer_analysis::Facts { member, clues };
        let customer = app7_customer_analysis::prompt(&customer, &[]);
        let customer = parlor.call_app(App::CustomerAnalysis, &customer).await.json;
        let coach = facts::coach(&parlor.db, SITE, COACH, Period::ThisMonth).await;
        let task = facts::task(&parlor.db, SITE, 1_001_004).await;
        let analysis = app4_analysis::Facts {
            member,
            coach: Some(&coach.unwrap()),
            task: Some(&task.unwrap()),
            clues,
        };
        let analysis = app4_analysis::prompt(&analysis, &[]);
        let analysis = parlor.call_app(App::Analysis, &analysis).await.json;
        let tactics = app5_tactics::Facts {
            analysis: &analysis,
            member,
        };
        let tactics = app5_tactics::prompt(&tactics, &[]);
        let tactics = parlor.call_app(App::Tactics, &tactics).await.json;
        for answer in [of_orders, customer, analysis, tactics] {
            let text = answer.to_string();
            assert!(text.contains(member.name()), "{}: {text}", member.name());
            assert!(!texts.contains(&text), "{text}");
            texts.push(text);
        }
    }
}

#[tokio::test]
async fn finance_is_analysed_for_each_period_and_area() {
    let parlor = parlor().await;
    let areas = ["大厅", "包厢", "斯诺克区"];
    let filters: Vec<_> = std::iter::once(None).chain(areas.map(Some)).collect();
    for period in Period::ALL {
        for area in &filters {
            let finance = facts::finance(&parlor.db, SITE, period, *area).await;
            let facts = app2_finance::Facts {
                period,
                area: *area,
                finance: &finance.unwrap(),
            };
            let prompt = app2_finance::prompt(&facts, &[]);
            let answer = parlor
                .call_app(App::Finance, &prompt)
                .await
                .json
                .to_string();
            assert!(answer.contains(period.label()) && answer.contains(area.unwrap_or("全部区域")));
        }
        let finance = facts::finance(&parlor.db, SITE, period, None).await;
        let facts = app2a_finance_area::Facts {
            period,
            finance: &finance.unwrap(),
        };
        // Earlier results select no scenario and are not repeated in the answer.
        let earlier = Reference {
            created_at: chrono::DateTime::UNIX_EPOCH,
            result: json!({ "insights": "以前[[sim:unavailable]]" }),
        };
        let prompt = app2a_finance_area::prompt(&facts, &[earlier]);
        let answer = parlor.call_app(App::FinanceArea, &prompt).await.json;
        assert!(!answer.to_string().contains("以前"));
        if period == Period::LastWeek {
            assert_eq!(answer["insights"].as_array().unwrap().len(), areas.len());
        }
    }
}

#[tokio::test]
async fn a_note_is_found_only_by_its_site() {
    let parlor = parlor().await;
    let note_id = parlor
        .id("select note_id from dws.member_note where site_id = 1 order by written_at desc, note_id limit 1")
        .await;
    let note = facts::note(&parlor.db, 1, note_id).await.unwrap();
    let shown = serde_json::to_value(&note).unwrap();
    assert!(
        shown["内容"].is_string()
            && shown["记录人"].is_string()
            && shown.get("member_id").is_none()
    );
    let unknown = async |site, id| {
        let note = facts::note(&parlor.db, site, id).await;
        assert!(matches!(note, Err(Error::NotFound)), "{note:?}");
    };
    unknown(2, note_id).await;
    unknown(1, 7).await;
    // In a sandbox, notes written after its date do not exist.
    sqlx::query(
        "update biz.sites set runtime_mode = 'sandbox',
            sandbox_date = (select max(local_day('Asia/Shanghai', written_at)) - 1 from dws.member_note where site_id = 1)
         where id = 1",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    unknown(1, note_id).await;
}

#[tokio::test]
async fn the_number_of_orders_is_limited_to_the_requested_number() {
    let parlor = parlor().await;
    let regular = parlor
        .id("select member_id from dws.member_consumption where site_id = 1 group by member_id order by count(*) desc limit 1")
        .await;
    let orders = async |most| {
        let member = facts::member(&parlor.db, SITE, regular, most)
            .await
            .unwrap();
        serde_json::to_value(member).unwrap()["消费明细"].clone()
    };
    let (few, many) = (orders(3).await, orders(200).await);
    let (few, many) = (few.as_array().unwrap(), many.as_array().unwrap());
    assert_eq!(few.len(), 3);
    assert!(many.len() > 10 && many.starts_with(few), "{}", many.len());
}

#[tokio::test]
async fn every_accepted_answer_can_be_stored() {
    let parlor = Parlor::start().await;
    let nested = format!("{}{}", "[".repeat(60), "]".repeat(60));
    for rest in [
        r#""\u0000": "\u0000\\u0000""#.to_owned(),
        r#""\ud83c\udfb1": "\ud83c\udfb1", "": """#.to_owned(),
        r#""figures": [1e308, -1e-320, 18446744073709551615, -0.0]"#.to_owned(),
        format!(r#""nested": {nested}"#),
        format!(r#""long": "{}""#, "长".repeat(80_000)),
    ] {
        let text = format!(r#"{{"clues": [], {rest}}}"#);
        let answer = apps::check(App::Clue, &text).unwrap().json;
        assert_eq!(parlor.stored(&answer).await["clues"], json!([]));
    }
}
