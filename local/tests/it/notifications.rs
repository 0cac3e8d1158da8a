//! Notifications: incidents, deliveries, channels, and the services that receive them.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::time::Duration;

use common::governance::notifications::{self, Notified};
use local::robots::{Fault, Received, SECRET};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::{
    parlor::{Answer, COACH, Parlor, answer},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const CHANNELS: &str = "/api/admin/ai/notification-channels";
const AUDIT: &str = "/api/admin/ai/audit";
const TOKEN: &str = "0123456789abcdef-the-token";

/// The three causes of the 50 failures.
const CAUSES: [(&str, &str, &str); 3] = [
    ("app3_clue", "failed", "upstream_error"),
    ("app3_clue", "timeout", "timeout"),
    ("app1_chat", "failed", "upstream_error"),
];

fn webhook(name: &str) -> Value {
    json!({
        "kind": "webhook",
        "name": name,
        "url": format!("https://{name}.example/hooks/{TOKEN}"),
        "secret": SECRET,
        "level": "info",
        "hourly_cap": 100,
    })
}

impl Parlor {
    async fn create_channel(&self, admin: i64, body: &Value) -> Value {
        self.post(admin, CHANNELS, body).await.created().clone()
    }

    async fn channel(&self, admin: i64) -> Value {
        self.get(admin, CHANNELS).await.ok()["items"][0].clone()
    }

    async fn set_channel(&self, admin: i64, id: &Value, body: &Value) -> Answer {
        let path = format!("{CHANNELS}/{id}");
        answer(self.request_as(admin, "PUT", &path).json(body)).await
    }

    /// Runs the function once.
    async fn notify(&self) -> Notified {
        notifications::run(&self.tools.db, &self.robots.client)
            .await
            .unwrap()
    }

    /// The accepted messages to a host.
    fn messages_to(&self, host: &str) -> Vec<Received> {
        let mut received = self.robots.received();
        received.retain(|message| message.host == host);
        received
    }

    /// Stores failed runs of a site, as the run log has them.
    async fn fail(&self, site: i64, (app, status, code): (&str, &str, &str), runs: i64) {
        sqlx::query(
            "insert into biz.ai_run_logs (site_id, user_id, app_type, app_id, trigger_type, status, alert_status, error_code,
                 local_day, created_at)
             select $1, 1001, $2, $2, 'chat', $3, 'pending', $4, current_date, clock_timestamp() - n * interval '1 second'
             from generate_series(1, $5) n",
        )
        .bind(site)
        .bind(app)
        .bind(status)
        .bind(code)
        .bind(runs)
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Stores that the last call of an app at a site succeeded.
    async fn succeed(&self, site: i64, app: &str) {
        sqlx::query(
            "insert into biz.ai_usage_daily (site_id, day, app_type, last_status, last_call_at)
             select s.id, (now() at time zone s.timezone)::date, $2, 'success', clock_timestamp()
             from biz.sites s where s.id = $1
             on conflict on constraint ai_usage_daily_pkey
             do update set last_status = excluded.last_status, last_call_at = excluded.last_call_at",
        )
        .bind(site)
        .bind(app)
        .execute(&self.db)
        .await
        .unwrap();
    }

    /// Moves everything that notifications know into the past.
    async fn later(&self, minutes: i64) {
        let by = format!("interval '{minutes} minutes'");
        for (table, columns) in [
            (
                "notification_incidents",
                &["began_at", "last_at", "ended_at"] as &[&str],
            ),
            (
                "notification_deliveries",
                &["created_at", "tried_at", "next_at"],
            ),
            ("ai_run_logs", &["created_at"]),
        ] {
            let set: Vec<_> = columns
                .iter()
                .map(|c| format!("{c} = {c} - {by}"))
                .collect();
            let set = set.join(", ");
            let statement = AssertSqlSafe(format!("update biz.{table} set {set}"));
            sqlx::query(statement).execute(&self.db).await.unwrap();
        }
    }

    async fn states(&self) -> Vec<(String, i64)> {
        sqlx::query_as(
            "select state::text, count(*) from biz.notification_deliveries group by 1 order by 1",
        )
        .fetch_all(&self.db)
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn fifty_failures_of_three_causes_are_three_messages_and_three_recoveries_per_site() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    parlor
        .create_channel(OTHER_SITE_ADMIN, &webhook("two"))
        .await;
    for site in [1, 2] {
        for (cause, runs) in CAUSES.into_iter().zip([30, 15, 5]) {
            parlor.fail(site, cause, runs).await;
        }
    }
    let done = parlor.notify().await;
    assert_eq!((done.opened, done.sent, done.failed), (6, 6, 0));
    for cause in CAUSES {
        parlor.fail(1, cause, 1).await;
    }
    assert_eq!(parlor.notify().await, Notified::default());
    for (host, site) in [("one.example", 1), ("two.example", 2)] {
        let messages = parlor.messages_to(host);
        assert_eq!(messages.len(), 3, "{host}");
        let mut counts: Vec<_> = messages.iter().map(|m| m.body["count"].as_i64()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [Some(5), Some(15), Some(30)]);
        for message in &messages {
            assert!(message.is_signed);
            assert_eq!(message.body["site_id"], site);
            assert_eq!(message.body["event"], "opened");
        }
    }

    // Site 1 recovers after 10 quiet minutes; site 2 does not.
    parlor.later(11).await;
    parlor.succeed(1, "app3_clue").await;
    parlor.succeed(1, "app1_chat").await;
    assert_eq!(parlor.notify().await.ended, 3);
    assert_eq!(parlor.notify().await, Notified::default());
    let recoveries: Vec<_> = parlor.messages_to("one.example").split_off(3);
    assert_eq!(recoveries.len(), 3);
    for message in recoveries {
        assert_eq!(message.body["event"], "recovered", "{}", message.text);
        assert!(message.text.contains("恢复："), "{}", message.text);
    }
    assert_eq!(parlor.messages_to("two.example").len(), 3);

    // Another failure after the recovery is another incident.
    parlor.fail(1, CAUSES[0], 1).await;
    assert_eq!(parlor.notify().await.opened, 1);
    assert_eq!(parlor.messages_to("one.example").len(), 7);
}

#[tokio::test]
async fn two_functions_at_once_send_each_message_once() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    for cause in CAUSES {
        parlor.fail(1, cause, 10).await;
    }
    tokio::join!(parlor.notify(), parlor.notify(), parlor.notify());
    parlor.notify().await;
    assert_eq!(parlor.messages_to("one.example").len(), 3);
}

#[tokio::test]
async fn messages_over_the_hourly_cap_are_counted_in_one_summary() {
    let parlor = Parlor::start().await;
    let mut body = webhook("one");
    body["hourly_cap"] = json!(2);
    parlor.create_channel(SITE_ADMIN, &body).await;
    for n in 0..6 {
        parlor
            .fail(1, ("app3_clue", "failed", &format!("code_{n}")), 2)
            .await;
    }
    parlor.notify().await;
    parlor.notify().await;
    let messages = parlor.messages_to("one.example");
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[2].body["event"], "summary");
    assert_eq!(messages[2].body["count"], 4);
    assert!(
        messages[2].text.contains("另有 4 条通知"),
        "{}",
        messages[2].text
    );

    // More within the hour are counted in the summary of the next hour.
    parlor.fail(1, ("app3_clue", "failed", "code_7"), 1).await;
    parlor.fail(1, ("app3_clue", "failed", "code_8"), 1).await;
    parlor.notify().await;
    assert_eq!(parlor.messages_to("one.example").len(), 3);
    parlor.later(61).await;
    parlor.notify().await;
    let messages = parlor.messages_to("one.example");
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[3].body["count"], 2);
}

#[tokio::test]
async fn a_muted_channel_sends_one_summary_afterwards() {
    let parlor = Parlor::start().await;
    let mut body = webhook("one");
    body["muted_until"] = json!("2999-01-01T00:00:00Z");
    let channel = parlor.create_channel(SITE_ADMIN, &body).await;
    for cause in CAUSES {
        parlor.fail(1, cause, 1).await;
    }
    parlor.notify().await;
    assert_eq!(parlor.robots.requests(), 0);
    body["muted_until"] = Value::Null;
    parlor
        .set_channel(SITE_ADMIN, &channel["id"], &body)
        .await
        .ok();
    parlor.notify().await;
    let messages = parlor.messages_to("one.example");
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].text.contains("另有 3 条通知"),
        "{}",
        messages[0].text
    );
}

#[tokio::test]
async fn a_channel_gets_its_level_and_more_urgent_ones() {
    let parlor = Parlor::start().await;
    for (name, level) in [
        ("info", "info"),
        ("warning", "warning"),
        ("critical", "critical"),
    ] {
        let mut body = webhook(name);
        body["level"] = json!(level);
        parlor.create_channel(SITE_ADMIN, &body).await;
    }
    let mut disabled = webhook("disabled");
    disabled["enabled"] = json!(false);
    parlor.create_channel(SITE_ADMIN, &disabled).await;
    parlor
        .fail(1, ("app3_clue", "success", "usage_implausible"), 1)
        .await;
    parlor.fail(1, CAUSES[0], 1).await;
    parlor
        .execute(
            "insert into biz.ai_circuits (app_id, app_type, state, opened_at, retry_at)
             values ('app3_clue', 'app3_clue', 'open', now(), now())",
        )
        .await;
    parlor.notify().await;
    for (host, messages) in [
        ("info", 3),
        ("warning", 2),
        ("critical", 1),
        ("disabled", 0),
    ] {
        let sent = parlor.messages_to(&format!("{host}.example")).len();
        assert_eq!(sent, messages, "{host}");
    }
}

#[tokio::test]
async fn circuit_opened_and_closed_reach_the_sites_that_it_affects() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    parlor
        .create_channel(OTHER_SITE_ADMIN, &webhook("two"))
        .await;
    parlor.fail(1, CAUSES[0], 5).await;
    parlor
        .execute(
            "insert into biz.ai_circuits (app_id, app_type, state, opened_at, retry_at)
             values ('app3_clue', 'app3_clue', 'open', now(), now())",
        )
        .await;
    parlor.notify().await;
    parlor
        .execute("update biz.ai_circuits set state = 'closed', opened_at = null, retry_at = null")
        .await;
    parlor.notify().await;
    let texts: Vec<_> = parlor
        .messages_to("one.example")
        .into_iter()
        .filter(|message| message.body["incident"] == "circuit")
        .map(|message| message.text)
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(
        texts[0].contains("熔断已开启") && texts[1].contains("熔断已关闭"),
        "{texts:?}"
    );
    // Only the end of the application's id is shown.
    assert!(texts[0].contains("末四位：clue"), "{}", texts[0]);
    assert_eq!(parlor.messages_to("two.example").len(), 0);
}

#[tokio::test]
async fn a_budget_is_reported_at_80_and_at_100_percent_once() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    let limits = json!({ "daily_limit": 1000, "monthly_limit": 1_000_000 });
    let request = parlor.request_as(SITE_ADMIN, "PUT", "/api/admin/ai/budget");
    answer(request.json(&limits)).await.ok();
    for (tokens, messages) in [(799, 0), (800, 1), (900, 1), (1000, 2), (950, 2), (1200, 2)] {
        sqlx::query(
            "insert into biz.ai_usage_days (site_id, day, tokens)
             select s.id, (now() at time zone s.timezone)::date, $1 from biz.sites s where s.id = 1
             on conflict on constraint ai_usage_days_pkey do update set tokens = excluded.tokens",
        )
        .bind(tokens)
        .execute(&parlor.db)
        .await
        .unwrap();
        parlor.notify().await;
        assert_eq!(
            parlor.messages_to("one.example").len(),
            messages,
            "{tokens}"
        );
    }
    let texts: Vec<_> = parlor
        .robots
        .received()
        .into_iter()
        .map(|m| m.text)
        .collect();
    assert!(
        texts[0].contains("80%") && texts[0].contains("800 / 1000"),
        "{}",
        texts[0]
    );
    assert!(texts[1].contains("100%"), "{}", texts[1]);

    // A limit of cost is a cause of its own.
    let limits =
        json!({ "daily_limit": 10_000, "monthly_limit": 1_000_000, "daily_cost_limit": "2.5" });
    let request = parlor.request_as(SITE_ADMIN, "PUT", "/api/admin/ai/budget");
    answer(request.json(&limits)).await.ok();
    for cost in [1_999_999, 2_000_000, 2_100_000] {
        sqlx::query("update biz.ai_usage_days set cost = $1 where site_id = 1")
            .bind(cost)
            .execute(&parlor.db)
            .await
            .unwrap();
        parlor.notify().await;
    }
    let messages = parlor.messages_to("one.example");
    assert_eq!(messages.len(), 3);
    let text = &messages[2].text;
    assert!(
        text.contains("80%") && text.contains("今日费用：2 / 2.5 元"),
        "{text}"
    );
}

#[tokio::test]
async fn an_overdue_report_is_reported_once() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    parlor
        .execute(
            "insert into biz.ai_reports (site_id, user_id, subject_type, subject_id, reason, text, due_at)
             values (1, 1001, 'message', 1, 'unsafe', '红色鲸鱼', now() - interval '1 day'),
                    (1, 1001, 'message', 1, 'other', '红色鲸鱼', now() + interval '1 day')",
        )
        .await;
    parlor.notify().await;
    parlor.notify().await;
    let messages = parlor.messages_to("one.example");
    assert_eq!(messages.len(), 1);
    assert!(
        messages[0].text.contains("投诉逾期"),
        "{}",
        messages[0].text
    );
    assert!(!messages[0].body.to_string().contains("红色鲸鱼"));
}

#[tokio::test]
async fn robots_get_their_own_form_and_signature() {
    let parlor = Parlor::start().await;
    for (kind, url) in [
        (
            "wecom",
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0123456789abcdef",
        ),
        (
            "dingtalk",
            "https://oapi.dingtalk.com/robot/send?access_token=0123456789abcdef",
        ),
        (
            "feishu",
            "https://open.feishu.cn/open-apis/bot/v2/hook/0123456789abcdef",
        ),
    ] {
        let body = json!({ "kind": kind, "name": kind, "url": url, "secret": SECRET });
        parlor.create_channel(SITE_ADMIN, &body).await;
    }
    parlor.fail(1, CAUSES[0], 3).await;
    let done = parlor.notify().await;
    assert_eq!((done.sent, done.failed), (3, 0));
    for (host, is_signed) in [
        ("qyapi.weixin.qq.com", false),
        ("oapi.dingtalk.com", true),
        ("open.feishu.cn", true),
    ] {
        let messages = parlor.messages_to(host);
        assert_eq!(messages.len(), 1, "{host}");
        assert_eq!(messages[0].is_signed, is_signed, "{host}");
        assert!(messages[0].text.contains("upstream_error"), "{host}");
    }
}

#[tokio::test]
async fn a_failed_delivery_is_retried_with_pauses_and_given_up_visibly() {
    let parlor = Parlor::start().await;
    let body = json!({
        "kind": "wecom", "name": "w",
        "url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0123456789abcdef",
    });
    parlor.create_channel(SITE_ADMIN, &body).await;
    parlor.fail(1, CAUSES[0], 1).await;
    for (try_, (fault, detail)) in [
        (Fault::Status(500), "HTTP 500"),
        (Fault::Code(45_009), "errcode 45009"),
        (Fault::Nonsense, "响应无法识别"),
        (Fault::Redirect, "HTTP 302"),
        (Fault::Status(404), "HTTP 404"),
        (Fault::Code(93_000), "errcode 93000"),
    ]
    .into_iter()
    .enumerate()
    {
        parlor.robots.fail([fault]);
        assert_eq!(parlor.notify().await.failed, 1, "{fault:?}");
        let last = parlor.channel(SITE_ADMIN).await["last_delivery"].clone();
        assert_eq!(
            (&last["ok"], &last["detail"]),
            (&json!(false), &json!(detail))
        );
        // The pause is not over.
        assert_eq!(parlor.notify().await, Notified::default());
        parlor.later(1 << try_).await;
    }
    assert_eq!(parlor.notify().await.sent, 0);
    assert_eq!(parlor.states().await, [("failed".to_owned(), 1)]);
    assert_eq!(parlor.robots.requests(), 6);
}

#[tokio::test]
async fn a_delivery_that_fails_once_arrives_once() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    parlor.fail(1, CAUSES[0], 1).await;
    parlor.robots.fail([Fault::Hang]);
    let began = std::time::Instant::now();
    assert_eq!(parlor.notify().await.failed, 1);
    assert!(began.elapsed() < Duration::from_secs(8));
    let last = parlor.channel(SITE_ADMIN).await["last_delivery"].clone();
    assert_eq!(last["detail"], "超时，5 秒内没有响应");
    parlor.later(2).await;
    assert_eq!(parlor.notify().await.sent, 1);
    assert_eq!(parlor.messages_to("one.example").len(), 1);
    assert_eq!(
        parlor.channel(SITE_ADMIN).await["last_delivery"]["ok"],
        true
    );
}

#[tokio::test]
async fn a_function_that_dies_before_it_stores_the_result_sends_again_after_the_lease() {
    let parlor = Parlor::start().await;
    parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    parlor.fail(1, CAUSES[0], 1).await;
    // As a function that sent the message and was killed.
    parlor
        .execute("select open_incidents(array['app3_clue'])")
        .await;
    parlor.execute("select claim_deliveries(20, 60, 6)").await;
    assert_eq!(parlor.notify().await, Notified::default());
    parlor.later(2).await;
    assert_eq!(parlor.notify().await.sent, 1);
    let messages = parlor.messages_to("one.example");
    // A receiver recognises a repetition by the id of the delivery.
    assert!(messages[0].body["id"].is_i64());
}

#[tokio::test]
async fn address_and_secret_are_in_no_response_and_no_audit_row() {
    let parlor = Parlor::start().await;
    let created = parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    assert_eq!(created["url_hint"], "https://one.example/…oken");
    let mut body = webhook("one");
    body["name"] = json!("renamed");
    let changed = parlor.set_channel(SITE_ADMIN, &created["id"], &body).await;
    let list = parlor.get(SITE_ADMIN, CHANNELS).await;
    let audit = parlor.get(SITE_ADMIN, AUDIT).await;
    assert_eq!(audit.ok()["items"][0]["details"]["url_is_given"], true);
    for shown in [&created, changed.ok(), list.ok(), audit.ok()] {
        let shown = shown.to_string();
        assert!(!shown.contains(TOKEN) && !shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test]
async fn a_change_keeps_missing_secrets_and_null_removes_them() {
    let parlor = Parlor::start().await;
    let created = parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    let stored = async || -> (Option<String>, Option<String>) {
        sqlx::query_as("select url, secret from biz.notification_channels")
            .fetch_one(&parlor.db)
            .await
            .unwrap()
    };
    let before = stored().await;
    let body = json!({ "kind": "webhook", "name": "one" });
    parlor
        .set_channel(SITE_ADMIN, &created["id"], &body)
        .await
        .ok();
    assert_eq!(stored().await, before);
    let body = json!({ "kind": "webhook", "name": "one", "url": null, "secret": null });
    let changed = parlor.set_channel(SITE_ADMIN, &created["id"], &body).await;
    assert_eq!(changed.ok()["url_hint"], Value::Null);
    assert_eq!(stored().await, (None, None));
}

#[tokio::test]
async fn a_change_of_an_older_version_is_412() {
    let parlor = Parlor::start().await;
    let created = parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    let path = format!("{CHANNELS}/{}", created["id"]);
    let put = async |etag: &Value| {
        let request = parlor.request_as(SITE_ADMIN, "PUT", &path);
        let request = request.header("if-match", etag.as_str().unwrap());
        answer(request.json(&webhook("one"))).await
    };
    let changed = put(&created["etag"]).await;
    assert_eq!(
        changed.headers["etag"],
        changed.ok()["etag"].as_str().unwrap()
    );
    assert_ne!(changed.body["etag"], created["etag"]);
    assert_eq!(put(&created["etag"]).await.status, 412);
    // A delivery is no other version.
    parlor.fail(1, CAUSES[0], 1).await;
    parlor.notify().await;
    put(&changed.body["etag"]).await.ok();
}

#[tokio::test]
async fn channels_belong_to_their_site() {
    let parlor = Parlor::start().await;
    let created = parlor.create_channel(SITE_ADMIN, &webhook("one")).await;
    let path = format!("{CHANNELS}/{}", created["id"]);
    let list = parlor.get(OTHER_SITE_ADMIN, CHANNELS).await;
    assert_eq!(list.ok()["total"], 0);
    let changed = parlor
        .set_channel(OTHER_SITE_ADMIN, &created["id"], &webhook("x"))
        .await;
    assert_eq!(changed.status, 404);
    for (method, path) in [("DELETE", path.clone()), ("POST", format!("{path}/test"))] {
        let refused = answer(parlor.request_as(OTHER_SITE_ADMIN, method, &path)).await;
        assert_eq!(refused.status, 404, "{method}");
    }
    assert_eq!(parlor.get(COACH, CHANNELS).await.status, 403);
    let all = parlor.get(PLATFORM_ADMIN, CHANNELS).await;
    assert_eq!(all.ok()["items"][0]["site_id"], 1);
    let deleted = answer(parlor.request_as(SITE_ADMIN, "DELETE", &path)).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(parlor.get(SITE_ADMIN, CHANNELS).await.ok()["total"], 0);
}

#[tokio::test]
async fn a_test_message_is_sent_although_the_channel_is_muted() {
    let parlor = Parlor::start().await;
    let mut body = webhook("one");
    body["muted_until"] = json!("2999-01-01T00:00:00Z");
    let created = parlor.create_channel(SITE_ADMIN, &body).await;
    let path = format!("{CHANNELS}/{}/test", created["id"]);
    let queued = answer(parlor.request_as(SITE_ADMIN, "POST", &path)).await;
    assert_eq!(queued.status, 202, "{}", queued.body);
    let again = answer(parlor.request_as(SITE_ADMIN, "POST", &path)).await;
    assert_eq!(again.body["delivery_id"], queued.body["delivery_id"]);
    parlor.notify().await;
    let messages = parlor.messages_to("one.example");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].body["id"], queued.body["delivery_id"]);
    assert_eq!(
        parlor.channel(SITE_ADMIN).await["last_delivery"]["ok"],
        true
    );
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_with_one_text() {
    let parlor = Parlor::start().await;
    let mut texts = Vec::new();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fd00::1]",
    ] {
        let mut body = webhook("one");
        body["url"] = json!(format!("https://{host}/"));
        let refused = parlor.post(SITE_ADMIN, CHANNELS, &body).await;
        assert_eq!(refused.status, 422, "{host}");
        texts.push(refused.body["detail"].clone());
    }
    // A name is checked when it is used.
    let mut body = webhook("one");
    body["url"] = json!("https://metadata.internal/hooks");
    let created = parlor.create_channel(SITE_ADMIN, &body).await;
    let path = format!("{CHANNELS}/{}/test", created["id"]);
    let refused = answer(parlor.request_as(SITE_ADMIN, "POST", &path)).await;
    assert_eq!(refused.status, 422);
    texts.push(refused.body["detail"].clone());
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");

    parlor.fail(1, CAUSES[0], 1).await;
    assert_eq!(parlor.notify().await.failed, 1);
    assert_eq!(parlor.robots.requests(), 0);
    let last = parlor.channel(SITE_ADMIN).await["last_delivery"].clone();
    assert_eq!(last["detail"], "地址不是公网地址，或域名无法解析");
}

#[tokio::test]
async fn invalid_channels_are_refused_with_the_field() {
    let parlor = Parlor::start().await;
    for (field, value) in [
        ("kind", json!("slack")),
        ("kind", Value::Null),
        ("name", json!("")),
        ("name", json!("x".repeat(101))),
        ("url", Value::Null),
        ("url", json!("http://one.example/")),
        ("url", json!("https://one.example:444/")),
        ("url", json!("https://user:password@one.example/")),
        ("secret", json!("")),
        ("level", json!("loud")),
        ("hourly_cap", json!(0)),
        ("hourly_cap", json!(1001)),
    ] {
        let mut body = webhook("one");
        body[field] = value.clone();
        let refused = parlor.post(SITE_ADMIN, CHANNELS, &body).await;
        assert_eq!(refused.status, 422, "{field} {value}");
        assert_eq!(refused.body["field"], field, "{value}");
    }
    let mut body = webhook("one");
    body["kind"] = json!("wecom");
    let refused = parlor.post(SITE_ADMIN, CHANNELS, &body).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["field"]),
        (422, &json!("url"))
    );
}
