//! Limits per user, conversation and site.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::parlor::{COACH, OTHER_SITE, Parlor, STAFF, Setup};

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
    // Each message reserves 2,000 tokens, so that two fit, for any number of concurrent messages.
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
        (&json!(6), &json!(4), &json!(0))
    );
    let refusals: i64 =
        sqlx::query_scalar("select count(*) from biz.ai_run_logs where status = 'budget_exceeded'")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(refusals, 4);
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
