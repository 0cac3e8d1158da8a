//! Limits per user, conversation and site.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup},
    routes::SITE_ADMIN,
};

#[tokio::test]
async fn one_reply_at_a_time_and_two_streams_for_each_user() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CHAT_MAX_STREAMS", "2".into())],
        ..Setup::default()
    })
    .await;
    let chats = [
        parlor.open(COACH, "1").await,
        parlor.open(COACH, "2").await,
        parlor.open(COACH, "3").await,
    ];
    let mut first = parlor.stream(COACH, chats[0], "[[sim:gate:1]]你好").await;
    let start = first.expect("start").await;
    let busy = parlor.send(COACH, chats[0], "还有").await;
    assert_eq!(
        busy.refused(409, "busy")["messageId"],
        start.data["messageId"]
    );
    let _second = parlor.stream(COACH, chats[1], "[[sim:gate:1]]你好").await;
    let refused = parlor.send(COACH, chats[2], "第三个").await;
    refused.refused(429, "rate_limited");
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(parlor.messages(COACH, chats[2]).await.len(), 0);
    // Another user is not affected.
    let other = parlor.open(STAFF, "1").await;
    parlor.send(STAFF, other, "你好").await.ok();
}

#[tokio::test]
async fn the_rate_limit_applies_to_concurrent_messages() {
    let parlor = Parlor::start_with(Setup {
        env: vec![("CHAT_RATE_PER_MINUTE", "5".into())],
        ..Setup::default()
    })
    .await;
    let mut chats = Vec::new();
    for number in 0..8 {
        chats.push(parlor.open(COACH, &format!("t{number}")).await);
    }
    let answers = join_all(chats.iter().map(|chat| parlor.send(COACH, *chat, "你好"))).await;
    let (answered, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((answered.len(), refused.len()), (5, 3));
    for answer in refused {
        let seconds = answer.refused(429, "rate_limited")["retryAfter"]
            .as_i64()
            .unwrap();
        assert!((1..=60).contains(&seconds));
        assert_eq!(answer.headers["retry-after"], &*seconds.to_string());
    }
}

/// Status and number of refusals of each run that was refused, oldest first.
async fn refused_runs(parlor: &Parlor) -> Vec<(String, i64)> {
    sqlx::query_as(
        "select status, refusals from biz.ai_run_logs where refusals is not null order by id",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap()
}

impl Parlor {
    /// Sends again after 503.
    async fn send_until_served(&self, user: i64, chat: i64) -> Answer {
        loop {
            let answer = self.send(user, chat, "预算用完了").await;
            if answer.status != 503 {
                return answer;
            }
        }
    }
}

async fn limited_to_20() -> Parlor {
    Parlor::start_with(Setup {
        env: vec![("CHAT_RATE_PER_MINUTE", "20".into())],
        ..Setup::default()
    })
    .await
}

async fn set_daily_limit(parlor: &Parlor, tokens: i64) {
    sqlx::query("update biz.ai_budgets set daily_limit = $1")
        .bind(tokens)
        .execute(&parlor.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn refusals_count_against_the_rate_and_are_logged_once() {
    let parlor = limited_to_20().await;
    let chat = parlor.open(COACH, "t").await;
    let other = parlor.open(STAFF, "t").await;
    for _ in 0..2 {
        parlor.send(COACH, chat, "你好").await.ok();
    }
    set_daily_limit(&parlor, 0).await;
    // Two users send at the same time.
    let sends = (0..50).map(|n| {
        let (user, chat) = if n % 2 == 0 {
            (COACH, chat)
        } else {
            (STAFF, other)
        };
        parlor.send_until_served(user, chat)
    });
    let codes: Vec<_> = join_all(sends).await.iter().map(code).collect();
    let refused = |code: &str| codes.iter().filter(|refused| *refused == code).count();
    // On a slow machine, a refusal may be counted although its caller got 503.
    assert!(refused("rate_limited") >= 7 + 5, "{codes:?}");
    assert_eq!(
        refused("budget_exceeded") + refused("rate_limited"),
        codes.len()
    );
    // The two stored messages of one user count, too.
    let mut logged = refused_runs(&parlor).await;
    logged.sort();
    assert_eq!(logged, [18, 20].map(|n| ("budget_exceeded".to_owned(), n)));
    let prompts: i64 =
        sqlx::query_scalar("select count(request_prompt) from biz.ai_run_logs where refusals > 0")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(prompts, 0);
    // A minute later, the user may try again, and the refusal gets a new row.
    sqlx::query("update biz.ai_refusals set run_at = run_at - interval '61 seconds'")
        .execute(&parlor.db)
        .await
        .unwrap();
    let again = parlor.send(COACH, chat, "还没有预算吗").await;
    again.refused(429, "budget_exceeded");
    assert_eq!(refused_runs(&parlor).await.len(), 3);
    invariants::check_books(&parlor).await;
}

fn code(answer: &Answer) -> String {
    answer.body["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn refused_messages_to_bots_count_like_messages_to_the_chat() {
    let parlor = limited_to_20().await;
    let session = parlor.begin_session(COACH).await;
    let path = format!("/api/chat/sessions/{session}/messages");
    set_daily_limit(&parlor, 0).await;
    for n in 0..21 {
        let answer = parlor
            .post(COACH, &path, &json!({ "content": "你好" }))
            .await;
        let code = if n < 20 {
            "budget_exceeded"
        } else {
            "rate_limited"
        };
        answer.refused_at(&path, 429, code);
    }
    assert_eq!(
        refused_runs(&parlor).await,
        [("budget_exceeded".to_owned(), 20)]
    );
    let run = parlor.last_run().await;
    assert_eq!(
        (&run["trigger_type"], &run["request_prompt"]),
        (&json!("session"), &json!(null))
    );
}

#[tokio::test]
async fn an_open_circuit_makes_one_alert_and_keeps_the_success_rate() {
    let parlor = limited_to_20().await;
    let chats = [
        (COACH, parlor.open(COACH, "t").await),
        (STAFF, parlor.open(STAFF, "t").await),
    ];
    parlor.send(COACH, chats[0].1, "你好").await.ok();
    sqlx::query(
        "insert into biz.ai_circuits (app_id, app_type, state, failures, opened_at, retry_at)
         values ('app1_chat', 'app1_chat', 'open', 5, now(), now() + interval '60 seconds')",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    for (user, chat) in chats {
        for _ in 0..3 {
            let refused = parlor.send(user, chat, "你好").await;
            refused.refused(503, "circuit_open");
        }
    }
    assert_eq!(
        refused_runs(&parlor).await,
        [3, 3].map(|n| ("circuit_open".to_owned(), n))
    );
    let alerts = parlor.get(SITE_ADMIN, "/api/admin/ai/alerts").await;
    assert_eq!(alerts.ok()["total"], 1);
    let dashboard = parlor.get(SITE_ADMIN, "/api/admin/ai/dashboard").await;
    let dashboard = dashboard.ok();
    assert_eq!(
        (&dashboard["today_calls"], &dashboard["today_success_rate"]),
        (&json!(1), &json!(1.0))
    );
    assert_eq!(dashboard["app_health"][0]["last_status"], "circuit_open");
    let runs = parlor
        .get(SITE_ADMIN, "/api/admin/ai/run-logs?status=circuit_open")
        .await;
    assert_eq!(runs.ok()["items"][0]["refusals"], 3);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_used_up_budget_prevents_calls() {
    let parlor = Parlor::start().await;
    sqlx::query("update biz.ai_budgets set daily_limit = 5000")
        .execute(&parlor.db)
        .await
        .unwrap();
    let mut chats = Vec::new();
    for number in 0..6 {
        chats.push(parlor.open(COACH, &format!("t{number}")).await);
    }
    parlor.simulator.hold_after(0);
    // Each message reserves 2,002 tokens, so that two fit, for any number of concurrent messages.
    let sends = join_all(chats.iter().map(async |chat| {
        let body = json!({ "chatId": chat, "content": "你好" });
        parlor
            .request_as(COACH, "POST", "/api/xcx/chat/stream")
            .json(&body)
            .send()
            .await
            .unwrap()
    }))
    .await;
    let refused: Vec<_> = sends
        .iter()
        .filter(|answer| answer.status() == 429)
        .collect();
    assert_eq!(refused.len(), 4);
    let until_midnight: i64 = refused[0].headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=86_400).contains(&until_midnight));
    parlor.simulator.called(2).await;
    assert_eq!(parlor.simulator.calls_count(), 2);
    parlor.simulator.release();
    drop(sends);
    parlor.settled().await;
    let usage = parlor.usage(1).await;
    assert_eq!(
        (
            &usage["calls"],
            &usage["failures"],
            &usage["reserved_tokens"]
        ),
        (&json!(2), &json!(0), &json!(0))
    );
    assert_eq!(
        refused_runs(&parlor).await,
        [("budget_exceeded".to_owned(), 4)]
    );
}

#[tokio::test]
async fn monthly_budgets_work_like_daily_ones_and_are_per_site() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 100000, 3000)",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    // Usage of another day of this month counts. Usage of last month does not.
    sqlx::query(
        "insert into biz.ai_usage_daily (site_id, day, app_type, tokens)
         select 1, d::date, 'app1_chat', t
         from (select date_trunc('month', local_day('Asia/Shanghai', now())::timestamp) as first) f,
              lateral (values (f.first, 1001), (f.first - interval '1 day', 1000000)) v(d, t)
         where d::date <> local_day('Asia/Shanghai', now())
         union all
         select 1, local_day('Asia/Shanghai', now()), 'app3_clue', case extract(day from local_day('Asia/Shanghai', now())) when 1 then 1001 else 0 end",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    parlor.sum_up_usage_days().await;
    let chat = parlor.open(COACH, "t").await;
    let refused = parlor.send(COACH, chat, "你好").await;
    let seconds = refused.refused(429, "budget_exceeded")["retryAfter"]
        .as_i64()
        .unwrap();
    let left: i64 = sqlx::query_scalar(
        "select extract(epoch from (date_trunc('month', now() at time zone 'Asia/Shanghai') + interval '1 month')
                at time zone 'Asia/Shanghai' - now())::bigint",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert!((seconds - left).abs() <= 60, "{seconds} of {left}");
    assert_eq!(parlor.simulator.calls_count(), 0);
    let other = parlor.open(OTHER_SITE, "t").await;
    parlor.send(OTHER_SITE, other, "你好").await.ok();
}

#[tokio::test]
async fn used_tokens_replace_the_reservation() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    // The budget fits one reservation. If a call kept its reservation, the next one would be
    // refused.
    sqlx::query("update biz.ai_budgets set daily_limit = 3000")
        .execute(&parlor.db)
        .await
        .unwrap();
    for _ in 0..3 {
        parlor.send(COACH, chat, "[[sim:say:好]]你好").await.ok();
    }
    let usage = parlor.usage(1).await;
    assert_eq!(usage["reserved_tokens"], 0);
    let charged: i64 = sqlx::query_scalar("select sum(tokens_used)::bigint from biz.ai_run_logs")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(usage["tokens"], charged);
}
