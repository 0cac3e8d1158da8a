//! The dashboard: costs and health, in agreement with the run log.

use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

use crate::harness::{
    parlor::{COACH, OTHER_SITE, Parlor, Setup, answer},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const PATH: &str = "/api/admin/ai/dashboard";

async fn dashboard(parlor: &Parlor, user: i64) -> Value {
    parlor.get(user, PATH).await.ok().clone()
}

/// Inserts the usage of an app on the site's local day `days_ago`.
async fn used(parlor: &Parlor, site: i64, app: &str, days_ago: i32, calls: i64, successes: i64) {
    sqlx::query(
        "insert into biz.ai_usage_daily (site_id, day, app_type, calls, successes, failures, tokens, last_status, last_call_at)
         values ($1, local_day(zone_of($1)) - $3, $2, $4, $5, $4 - $5, $4 * 10, 'failed', now() - make_interval(days => $3))",
    )
    .bind(site)
    .bind(app)
    .bind(days_ago)
    .bind(calls)
    .bind(successes)
    .execute(&parlor.db)
    .await
    .unwrap();
    parlor.sum_up_usage_days().await;
}

#[tokio::test]
async fn a_site_without_calls_has_seven_days_of_zeros() {
    let parlor = Parlor::start().await;
    let returned = dashboard(&parlor, SITE_ADMIN).await;
    for figure in ["today_calls", "today_tokens", "today_p95_latency_ms"] {
        assert_eq!(returned[figure], 0, "{figure}");
    }
    for figure in ["today_success_rate", "today_avg_latency_ms"] {
        assert_eq!(returned[figure], 0.0, "{figure}");
    }
    let trend = returned["trend_7d"].as_array().unwrap();
    assert_eq!(trend.len(), 7);
    assert!(
        trend
            .iter()
            .all(|day| day["calls"] == 0 && day["tokens"] == 0)
    );
    assert_eq!(
        (&returned["app_distribution"], &returned["recent_alerts"]),
        (&json!([]), &json!([]))
    );
    let health = returned["app_health"].as_array().unwrap();
    assert_eq!(health.len(), 9);
    assert!(health.iter().all(|app| {
        app["circuit"] == "closed" && app["last_status"].is_null() && app["last_call_at"].is_null()
    }));
}

#[tokio::test]
async fn days_without_calls_are_not_missing_from_the_trend() {
    let parlor = Parlor::start().await;
    used(&parlor, 1, "app1_chat", 6, 4, 3).await;
    used(&parlor, 1, "app3_clue", 2, 3, 3).await;
    used(&parlor, 1, "app1_chat", 2, 5, 0).await;
    // The eighth day and the other site are not included.
    used(&parlor, 1, "app1_chat", 7, 100, 100).await;
    used(&parlor, 2, "app1_chat", 2, 100, 100).await;
    let returned = dashboard(&parlor, SITE_ADMIN).await;
    let trend = returned["trend_7d"].as_array().unwrap();
    let days: Vec<NaiveDate> = trend
        .iter()
        .map(|day| day["date"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(
        days.windows(2)
            .all(|two| two[0].checked_add_days(Days::new(1)) == Some(two[1]))
    );
    let told_of =
        |name: &str| -> Vec<Value> { trend.iter().map(|day| day[name].clone()).collect() };
    assert_eq!(told_of("calls"), [4, 0, 0, 0, 8, 0, 0]);
    assert_eq!(told_of("tokens"), [40, 0, 0, 0, 80, 0, 0]);
    assert_eq!(
        told_of("success_rate"),
        [0.75, 0.0, 0.0, 0.0, 0.375, 0.0, 0.0]
    );
    assert_eq!(
        returned["app_distribution"],
        json!([
            { "app_type": "app1_chat", "count": 9, "percentage": 0.75 },
            { "app_type": "app3_clue", "count": 3, "percentage": 0.25 },
        ])
    );
}

#[tokio::test]
async fn today_ignores_the_sandbox_date() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "update biz.sites set runtime_mode = 'sandbox', sandbox_date = '2026-05-01',
             -- There it is another day than in Shanghai, at any time of the day or nearly.
             timezone = case when extract(hour from now() at time zone 'Asia/Shanghai') < 12
                             then 'Pacific/Pago_Pago' else 'Pacific/Kiritimati' end
         where id = 1",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    let returned = dashboard(&parlor, SITE_ADMIN).await;
    assert_eq!(returned["today_calls"], 1);
    let day: NaiveDate =
        sqlx::query_scalar("select local_day(timezone) from biz.sites where id = 1")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(returned["trend_7d"][6]["date"], day.to_string());
}

#[tokio::test]
async fn the_dashboard_agrees_with_the_run_log() {
    let parlor = Parlor::start().await;
    for (user, site) in [(COACH, 1), (OTHER_SITE, 2)] {
        let chat = parlor.open(user, "t").await;
        for content in [
            "[[sim:echo]]你好",
            "[[sim:fail-first]]",
            "[[sim:no-usage]]",
            "今天生意怎么样？",
        ] {
            parlor.send(user, chat, content).await.ok();
        }
        let limits = json!({ "site_id": site, "daily_limit": 1, "monthly_limit": 1_000_000 });
        let request = parlor.request_as(PLATFORM_ADMIN, "PUT", "/api/admin/ai/budget");
        answer(request.json(&limits)).await.ok();
        let refused = parlor.send(user, chat, "再来一次").await;
        assert_eq!(refused.status, 429);
    }
    parlor.settled().await;
    for (user, site) in [
        (SITE_ADMIN, Some(1)),
        (OTHER_SITE_ADMIN, Some(2)),
        (PLATFORM_ADMIN, None),
    ] {
        let logged: Value = sqlx::query_scalar(
            "select jsonb_build_object(
                 'calls', count(*) filter (where status <> 'budget_exceeded'), 'ok', count(*) filter (where status in ('success', 'stopped')),
                 'tokens', sum(coalesce(tokens_charged, tokens_used, case when tokens_estimated then reserved_tokens else 0 end)),
                 'latency', round(avg(latency_ms) filter (where status <> 'budget_exceeded'), 2),
                 'last', (array_agg(status order by created_at desc))[1])
             from biz.ai_run_logs where $1::bigint is null or site_id = $1",
        )
        .bind(site)
        .fetch_one(&parlor.db)
        .await
        .unwrap();
        let returned = dashboard(&parlor, user).await;
        let listed = parlor.get(user, "/api/admin/ai/run-logs").await;
        let charged = listed.ok()["items"].as_array().unwrap().iter();
        let charged: i64 = charged
            .map(|run| run["tokens_charged"].as_i64().unwrap())
            .sum();
        assert_eq!(returned["today_tokens"], charged);
        // The list has the refusal, too, once per site.
        let sites = if site.is_some() { 1 } else { 2 };
        assert_eq!(
            returned["today_calls"].as_i64().unwrap() + sites,
            listed.body["total"].as_i64().unwrap()
        );
        assert_eq!(returned["today_calls"], logged["calls"]);
        assert_eq!(returned["trend_7d"][6]["calls"], logged["calls"]);
        assert_eq!(returned["today_tokens"], logged["tokens"]);
        assert_eq!(returned["budget"]["daily_used"], logged["tokens"]);
        assert_eq!(returned["budget"]["monthly_used"], logged["tokens"]);
        let calls = logged["calls"].as_f64().unwrap();
        let rate = (logged["ok"].as_f64().unwrap() / calls * 10_000.0).round() / 10_000.0;
        assert_eq!(returned["today_success_rate"], rate);
        assert_eq!(
            returned["today_avg_latency_ms"].as_f64(),
            logged["latency"].as_f64()
        );
        assert_eq!(returned["app_health"][0]["last_status"], logged["last"]);
        assert_eq!(
            returned["app_distribution"],
            json!([{ "app_type": "app1_chat", "count": logged["calls"], "percentage": 1.0 }])
        );
    }
}

#[tokio::test]
async fn app_health_shows_the_circuit_and_the_last_call_of_any_age() {
    let parlor = Parlor::start().await;
    used(&parlor, 1, "app3_clue", 60, 1, 0).await;
    sqlx::query(
        "insert into biz.ai_circuits (app_id, app_type, state, failures, opened_at, retry_at)
         values ('app3_clue', 'app3_clue', 'open', 5, now(), now() + interval '1 minute')",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let health = |returned: &Value| {
        let apps = returned["app_health"].as_array().unwrap().iter();
        apps.clone()
            .find(|app| app["app_type"] == "app3_clue")
            .unwrap()
            .clone()
    };
    let returned = health(&dashboard(&parlor, SITE_ADMIN).await);
    assert_eq!(
        (&returned["last_status"], &returned["circuit"]),
        (&json!("failed"), &json!("open"))
    );
    assert!(returned["circuit_retry_at"].is_string() && returned["last_call_at"].is_string());
    // The circuit is shared by all sites. The last call was made by another site.
    let returned = health(&dashboard(&parlor, OTHER_SITE_ADMIN).await);
    assert_eq!(
        (&returned["last_status"], &returned["circuit"]),
        (&Value::Null, &json!("open"))
    );
    let returned = health(&dashboard(&parlor, PLATFORM_ADMIN).await);
    assert_eq!(returned["last_status"], "failed");
}

#[tokio::test]
async fn the_ten_newest_alerts_of_the_site_are_shown_in_any_status() {
    let parlor = Parlor::start().await;
    sqlx::query(
        "insert into biz.ai_run_logs (site_id, app_type, trigger_type, status, alert_status, error_message, local_day, created_at)
         select 1 + n % 2, case n % 4 when 0 then 'app1_chat' else 'app3_clue' end, 'chat', 'failed',
                case n % 3 when 0 then 'pending' when 1 then 'acknowledged' else 'ignored' end, n::text, current_date,
                now() - n * interval '1 second'
         from generate_series(1, 40) n",
    )
    .execute(&parlor.db)
    .await
    .unwrap();
    let returned = dashboard(&parlor, SITE_ADMIN).await;
    let alerts = returned["recent_alerts"].as_array().unwrap();
    let statuses: Vec<_> = alerts
        .iter()
        .map(|alert| alert["error_message"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["2", "4", "6", "8", "10", "12", "14", "16", "18", "20"]
    );
    assert!(alerts.iter().all(|alert| alert["site_id"] == 1));
    let all = dashboard(&parlor, PLATFORM_ADMIN).await;
    assert_eq!(all["recent_alerts"][1]["error_message"], "2");
}

#[tokio::test]
async fn a_dashboard_runs_at_most_three_statements() {
    let (parlor, wire) = Parlor::wired(Setup::default()).await;
    // The first requests prepare the statements and cache the caller's approval.
    for _ in 0..2 {
        dashboard(&parlor, SITE_ADMIN).await;
    }
    let before = wire.round_trips();
    dashboard(&parlor, SITE_ADMIN).await;
    assert!(wire.round_trips() - before <= 3);
}
