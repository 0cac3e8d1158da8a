//! A question from a page is sent with the page's facts, only from the user's own site.

use serde_json::{Value, json};

use crate::harness::{
    events::{terminal, text},
    parlor::{COACH, OTHER_SITE, Parlor, Setup, answer},
    routes::{MANAGER, OTHER_SITE_ADMIN},
    wire::Wire,
};

/// A demo member of each site.
const MEMBERS: [i64; 2] = [10_001, 20_001];

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

impl Parlor {
    /// Sends a question from a page and returns the prompt that the app received.
    async fn ask_from(&self, user: i64, page: &str, context: Value) -> String {
        let chat = self.open(user, page).await;
        let body = json!({ "chatId": chat, "content": "怎么样？", "sourcePage": page, "pageContext": context });
        let events = self.stream_body(user, &body).await.rest().await;
        assert_eq!(terminal(&events).name, "done", "{}", text(&events));
        self.simulator.calls().last().unwrap().prompt().to_owned()
    }

    async fn number(&self, query: &'static str) -> String {
        sqlx::query_scalar(query).fetch_one(&self.db).await.unwrap()
    }
}

/// The facts in a prompt.
#[track_caller]
fn facts(prompt: &str, page: &str) -> Value {
    let rest = prompt
        .strip_prefix(&format!("[页面上下文: {page}]\n"))
        .unwrap_or_else(|| panic!("{prompt}"));
    let (facts, question) = rest.split_once("\n\n").unwrap();
    assert_eq!(question, "[当前问题]\n怎么样？");
    serde_json::from_str(facts).unwrap()
}

#[tokio::test]
async fn each_page_context_adds_its_facts_before_the_question() {
    let parlor = parlor().await;
    for (page, context, member) in [
        ("board-finance", json!({ "period": "last_month" }), "合计"),
        (
            "board-customer",
            json!({ "period": "this_month" }),
            "会员总数",
        ),
        ("board-coach", json!({}), "教练排名"),
        ("task-detail", json!({ "contextId": 1_001_004 }), "任务"),
        (
            "customer-detail",
            json!({ "contextId": "10001" }),
            "会员姓名",
        ),
        ("coach-detail", json!({ "contextId": COACH }), "教练"),
        ("performance", json!({ "period": "last_week" }), "业绩"),
    ] {
        let prompt = parlor.ask_from(MANAGER, page, context).await;
        let facts = facts(&prompt, page);
        let shown = facts.to_string();
        assert!(shown.contains(&format!("\"{member}\":")), "{page}: {shown}");
        let run = parlor.last_run().await;
        assert_eq!(run["error_code"], Value::Null, "{page}");
        assert_eq!(run["request_prompt"], *prompt);
    }
}

#[tokio::test]
async fn every_figure_equals_its_query() {
    let parlor = parlor().await;
    let prompt = parlor
        .ask_from(
            MANAGER,
            "board-finance",
            json!({ "period": "last_week", "area": "包厢" }),
        )
        .await;
    let finance = facts(&prompt, "board-finance");
    let week = "where site_id = 1 and area = '包厢' and business_date between date_trunc('week', site_today(1))::date - 7
                and date_trunc('week', site_today(1))::date - 1";
    let revenue: f64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "select sum(revenue)::double precision from dws.finance_area_daily {week}"
    )))
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!(revenue > 0.0);
    assert_eq!(finance["合计"]["营收"], revenue);
    assert_eq!(finance["门店"], "星空台球·旗舰店");
    assert_eq!(finance["每日"].as_array().unwrap().len(), 7);
    assert_eq!(finance["各区域"].as_array().unwrap().len(), 1);

    let prompt = parlor
        .ask_from(COACH, "customer-detail", json!({ "contextId": 10_001 }))
        .await;
    let member = facts(&prompt, "customer-detail");
    let name = parlor
        .number("select name from dws.member_profile where site_id = 1 and member_id = 10001")
        .await;
    let spent = parlor
        .number(
            "select trim_scale(coalesce(sum(amount), 0))::text from dws.member_consumption
             where site_id = 1 and member_id = 10001 and business_date > site_today(1) - 90",
        )
        .await;
    assert_eq!(member["会员姓名"], name);
    assert_eq!(member["近90天消费"], json!(spent.parse::<f64>().unwrap()));
}

#[tokio::test]
async fn facts_of_other_sites_are_never_shown() {
    let parlor = parlor().await;
    for (user, other) in [(MANAGER, MEMBERS[1]), (OTHER_SITE_ADMIN, MEMBERS[0])] {
        for (page, id) in [
            ("customer-detail", other),
            (
                "task-detail",
                if user == MANAGER {
                    2_001_004
                } else {
                    1_001_004
                },
            ),
            (
                "coach-detail",
                if user == MANAGER { OTHER_SITE } else { COACH },
            ),
        ] {
            let context = json!({ "contextId": id, "siteId": 2, "site_id": 1 });
            assert_eq!(parlor.ask_from(user, page, context).await, "怎么样？");
            let run = parlor.last_run().await;
            assert_eq!(
                (&run["status"], &run["error_code"]),
                (&json!("success"), &json!("page_facts_missing"))
            );
        }
    }
    let prompt = parlor
        .ask_from(OTHER_SITE_ADMIN, "board-finance", json!({}))
        .await;
    assert_eq!(facts(&prompt, "board-finance")["门店"], "夜场俱乐部");
}

#[tokio::test]
async fn invalid_filters_use_the_defaults() {
    let parlor = parlor().await;
    for context in [
        json!({ "period": "some day" }),
        json!({ "period": ["today"], "area": 7 }),
        json!({ "area": "all" }),
    ] {
        let prompt = parlor.ask_from(MANAGER, "board-finance", context).await;
        assert_eq!(
            facts(&prompt, "board-finance")["各区域"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
    }
    for context in [
        json!({}),
        json!({ "contextId": "abc" }),
        json!({ "contextId": null }),
    ] {
        assert_eq!(
            parlor.ask_from(COACH, "task-detail", context).await,
            "怎么样？"
        );
    }
}

#[tokio::test]
async fn a_sandbox_shows_facts_of_its_date() {
    let parlor = parlor().await;
    sqlx::query(
        "update biz.sites set runtime_mode = 'sandbox', sandbox_date = local_day(timezone) - 10 where id = 1",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let today = parlor.number("select site_today(1)::text").await;
    let prompt = parlor
        .ask_from(MANAGER, "board-finance", json!({ "period": "today" }))
        .await;
    let finance = facts(&prompt, "board-finance");
    assert_eq!(
        (&finance["起始日期"], &finance["截止日期"]),
        (&json!(today), &json!(today))
    );
    assert!(finance["合计"]["营收"].as_f64().unwrap() > 0.0);

    let clock = parlor.get(COACH, "/api/xcx/runtime-clock").await;
    assert_eq!(
        (
            &clock.ok()["mode"],
            &clock.body["businessDate"],
            &clock.body["timezone"]
        ),
        (&json!("sandbox"), &json!(today), &json!("Asia/Shanghai"))
    );
    let now: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(clock.body["now"].clone()).unwrap();
    let real = sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>("select now()")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!((real - now).num_days(), 10);
    let live = parlor.get(OTHER_SITE, "/api/xcx/runtime-clock").await;
    assert_eq!(live.ok()["mode"], "live");
}

#[tokio::test]
async fn a_message_is_sent_without_facts_that_time_out() {
    let database = Parlor::with_business(Setup::default()).await;
    let wire = Wire::before(database.database.url()).await;
    let parlor = Parlor::start_with(Setup {
        database: Some(database.database.clone()),
        database_url: Some(wire.url.clone()),
        ..Setup::default()
    })
    .await;
    // Another transaction has locked a table that the page reads.
    let mut other = parlor.db.acquire().await.unwrap();
    sqlx::Executor::execute(&mut *other, "begin; lock table dws.finance_area_daily")
        .await
        .unwrap();
    let prompt = parlor.ask_from(MANAGER, "board-finance", json!({})).await;
    assert_eq!(prompt, "怎么样？");
    assert_eq!(parlor.last_run().await["error_code"], "page_facts_missing");
    sqlx::Executor::execute(&mut *other, "rollback")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_site_without_data_has_zero_figures() {
    let parlor = Parlor::start().await;
    let prompt = parlor.ask_from(MANAGER, "board-finance", json!({})).await;
    let finance = facts(&prompt, "board-finance");
    assert_eq!(finance["合计"]["营收"], 0.0);
    assert_eq!(finance["每日"], json!([]));
}

#[tokio::test]
async fn only_staff_of_a_site_reads_its_clock() {
    let parlor = Parlor::start().await;
    answer(parlor.request("GET", "/api/xcx/runtime-clock"))
        .await
        .refused(401, "unauthorized");
    parlor
        .get(9001, "/api/xcx/runtime-clock")
        .await
        .refused(403, "forbidden");
    assert_eq!(
        parlor.get(COACH, "/api/xcx/runtime-clock").await.ok()["mode"],
        "live"
    );
}
