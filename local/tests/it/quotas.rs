//! Quotas of tokens for a user, a role or a bot.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    invariants,
    parlor::{Answer, COACH, OTHER_SITE, Parlor, STAFF, Setup, answer},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN, VIEWER},
    sessions::{BOT, OTHER_SITES, SESSIONS},
    sweep,
};

const QUOTAS: &str = "/api/admin/ai/quotas";
const STREAM: &str = "/api/xcx/chat/stream";

/// A quota that no call fits in.
fn none_left(subject_type: &str, subject_id: &str, period: &str) -> Value {
    let (day, month) = match period {
        "day" => (Some(0), None),
        _ => (None, Some(0)),
    };
    json!({
        "subject_type": subject_type, "subject_id": subject_id, "daily_limit": day, "monthly_limit": month,
    })
}

/// A quota per day for the coach, which is larger than one reservation and smaller than two.
fn one_reservation() -> Value {
    json!({ "subject_type": "user", "subject_id": "1001", "daily_limit": 3_000, "monthly_limit": null })
}

impl Parlor {
    async fn put_quota(&self, quota: &Value) -> Value {
        let set = self.call(SITE_ADMIN, "PUT", QUOTAS, quota).await;
        set.ok().clone()
    }

    async fn remove_quota(&self, quota: &Value) {
        let mut none = quota.clone();
        none["daily_limit"] = Value::Null;
        none["monthly_limit"] = Value::Null;
        self.put_quota(&none).await;
    }

    /// All quotas of site 1.
    async fn quotas(&self) -> Vec<Value> {
        let list = self.get(SITE_ADMIN, QUOTAS).await;
        list.ok()["items"].as_array().unwrap().clone()
    }

    /// What counts today for the only quota.
    async fn quota_used(&self) -> i64 {
        self.quotas().await[0]["daily_used"].as_i64().unwrap()
    }

    /// Begins a reply that is not read.
    async fn try_stream(&self, user: i64, chat: i64) -> reqwest::Response {
        loop {
            let body = json!({ "chatId": chat, "content": "你好" });
            let begun = self.request_as(user, "POST", STREAM).json(&body);
            let begun = begun.send().await.unwrap();
            // A slow machine.
            if begun.status() != 503 {
                return begun;
            }
        }
    }
}

/// Checks the refusal of the mini-program.
#[track_caller]
fn is_refused(answer: &Answer, quota: &Value, period: &str) {
    let body = answer.refused(429, "quota_exceeded");
    let expected = json!({
        "subjectType": quota["subject_type"], "subjectId": quota["subject_id"], "period": period,
    });
    assert_eq!(body["quota"], expected);
    let seconds = body["retryAfter"].as_i64().unwrap();
    let most = if period == "day" { 86_400 } else { 31 * 86_400 };
    assert!((1..=most).contains(&seconds), "{seconds}");
    assert_eq!(answer.headers["retry-after"], &*seconds.to_string());
}

#[tokio::test]
async fn a_used_up_quota_refuses_only_its_subject_and_names_itself() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    let staff = parlor.open(STAFF, "t").await;
    let other = parlor.open(OTHER_SITE, "t").await;
    let path = format!("/api/xcx/chat/messages?contextType=bot&contextId={BOT}");
    let bot = parlor.get(COACH, &path).await.ok()["chatId"]
        .as_i64()
        .unwrap();
    let session = parlor.begin_session(COACH).await;
    for (subject_type, subject_id, period, refuses_chat) in [
        ("user", "1001", "day", true),
        ("user", "1001", "month", true),
        ("role", "coach", "day", true),
        ("role", "coach", "month", true),
        ("bot", BOT, "day", false),
        ("bot", BOT, "month", false),
    ] {
        let quota = none_left(subject_type, subject_id, period);
        parlor.put_quota(&quota).await;
        is_refused(&parlor.send(COACH, bot, "你好").await, &quota, period);
        let refused = parlor.post_message(COACH, &session, "你好").await;
        let body = refused.refused_at(SESSIONS, 429, "quota_exceeded");
        let named =
            json!({ "subject_type": subject_type, "subject_id": subject_id, "period": period });
        assert_eq!(body["quota"], named);
        assert!(body["retry_after"].is_number());
        let sent = parlor.send(COACH, chat, "[[sim:say:好]]你好").await;
        if refuses_chat {
            is_refused(&sent, &quota, period);
            let body = json!({ "chatId": chat, "content": "你好" });
            is_refused(&parlor.post(COACH, STREAM, &body).await, &quota, period);
        } else {
            sent.ok();
        }
        for (user, chat) in [(STAFF, staff), (OTHER_SITE, other)] {
            parlor.send(user, chat, "[[sim:say:好]]你好").await.ok();
        }
        parlor.remove_quota(&quota).await;
    }
    parlor.send(COACH, chat, "[[sim:say:好]]你好").await.ok();

    // Of several quotas, the one that has room last is named. The budget comes before all.
    for period in ["day", "month"] {
        let quota = none_left("user", "1001", period);
        parlor.put_quota(&none_left("role", "coach", "day")).await;
        parlor.put_quota(&quota).await;
        is_refused(&parlor.send(COACH, chat, "你好").await, &quota, period);
    }
    // The run log has one row for all refusals of a minute. It names the first quota.
    let logged: Vec<(String, i64)> = sqlx::query_as(
        "select error_message, refusals from biz.ai_run_logs where status = 'quota_exceeded'",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let quota = r#"{"period": "day", "subject_id": "1001", "subject_type": "user"}"#;
    assert_eq!(logged, [(quota.to_owned(), 4 * 4 + 2 * 2 + 2)]);
    parlor
        .execute("update biz.ai_budgets set daily_limit = 0")
        .await;
    let refused = parlor.send(COACH, chat, "你好").await;
    refused.refused(429, "budget_exceeded");
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_hundred_concurrent_messages_fill_a_quota_exactly() {
    let parlor = Parlor::start().await;
    parlor
        .execute("update biz.ai_budgets set daily_limit = 100000000, monthly_limit = 100000000")
        .await;
    let chats: Vec<i64> = sqlx::query_scalar(
        "insert into biz.ai_conversations (site_id, user_id, context_type, context_id)
         select 1, $1, 'task', n from generate_series(1, 100) n returning id",
    )
    .bind(COACH)
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    // Each message reserves 2,002 tokens.
    let quota = json!({
        "subject_type": "role", "subject_id": "coach", "daily_limit": 7 * 2_002 + 2_001, "monthly_limit": null,
    });
    parlor.put_quota(&quota).await;
    parlor.simulator.hold_after(0);
    let sends = join_all(chats.iter().map(|chat| parlor.try_stream(COACH, *chat))).await;
    let mut statuses: Vec<_> = sends.iter().map(|send| send.status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 7], vec![429; 93]].concat());
    assert_eq!(parlor.quota_used().await, 7 * 2_002);
    // A user of another role is not delayed either.
    let staff = parlor.open(STAFF, "t").await;
    let other = parlor.try_stream(STAFF, staff).await;
    assert_eq!(other.status(), 200);
    parlor.simulator.release();
    drop((sends, other));
    parlor.settled().await;
    let charged: i64 = sqlx::query_scalar(
        "select sum(tokens_charged)::bigint from biz.ai_run_logs where user_id = $1",
    )
    .bind(COACH)
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(parlor.quota_used().await, charged);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_reservation_ends_once_with_its_call_however_it_ends() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.put_quota(&one_reservation()).await;
    // If a call kept its reservation, the next one would be refused.
    let mut charged = 0;
    for content in [
        "[[sim:say:好]]你好",
        "[[sim:fail-first]]你好",
        "[[sim:say:好]]你好",
    ] {
        parlor.send(COACH, chat, content).await.ok();
        parlor.settled().await;
        let run = parlor.last_run().await;
        charged += run["tokens_charged"].as_i64().unwrap();
        assert_eq!(parlor.quota_used().await, charged, "{content}");
    }
    let (mut stream, events) = parlor
        .stream_held(COACH, chat, "[[sim:say:好]]你好", 1)
        .await;
    let reserved = parlor.last_run().await["reserved_tokens"].clone();
    assert_eq!(
        parlor.quota_used().await,
        charged + reserved.as_i64().unwrap()
    );
    let stop = format!("{STREAM}/{}/stop", events[0].data["messageId"]);
    parlor.post(COACH, &stop, &Value::Null).await;
    stream.rest().await;
    parlor.settled().await;
    let run = parlor.last_run().await;
    charged += run["tokens_charged"].as_i64().unwrap();
    assert_eq!(
        (parlor.quota_used().await, &run["status"]),
        (charged, &json!("stopped"))
    );
    parlor.simulator.release();

    // The function dies: the reservation remains until the sweep, which charges it.
    parlor
        .execute("update biz.ai_quotas set daily_limit = 100000")
        .await;
    parlor.begin_and_die(COACH, chat, "你好", "说到一半").await;
    let run = parlor.last_run().await;
    let reserved = run["reserved_tokens"].as_i64().unwrap();
    for replies in [1, 0] {
        assert_eq!(parlor.quota_used().await, charged + reserved);
        assert_eq!(sweep(&parlor.db, 90).await.unwrap().replies, replies);
    }
    let own = parlor.get(COACH, "/api/xcx/usage").await;
    assert_eq!(own.ok()["day"]["tokens"], charged + reserved);
    invariants::check_books(&parlor).await;
}

#[tokio::test]
async fn a_queued_message_fails_if_the_quota_is_used_up_and_other_jobs_have_none() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let session = parlor.begin_session(COACH).await;
    parlor.create_message(COACH, &session, "你好").await;
    let job = parlor.member_paid(10_001, 1).await;
    for (subject_type, subject_id) in [("user", "1001"), ("role", "coach"), ("bot", BOT)] {
        parlor
            .put_quota(&none_left(subject_type, subject_id, "day"))
            .await;
    }
    parlor.work_until_done().await;
    let messages = parlor.session_messages(COACH, &session, "").await;
    assert_eq!(messages["messages"][1]["status"], "failed");
    let code: String = sqlx::query_scalar(
        "select error_code from biz.ai_trigger_jobs where event_type = 'chat.session_message'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(code, "quota_exceeded");
    assert_eq!(parlor.job(job).await["status"], "succeeded");
}

#[tokio::test]
async fn admins_set_list_and_remove_quotas_of_their_site() {
    let parlor = Parlor::start().await;
    // Used before the quota is set, and counted.
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:say:好]]你好").await.ok();
    parlor.settled().await;
    let charged = parlor.last_run().await["tokens_charged"].clone();
    let own = async || parlor.get(COACH, "/api/xcx/usage").await.ok().clone();
    assert_eq!(
        own().await["day"],
        json!({ "tokens": charged, "limit": null })
    );

    let user = json!({ "subject_type": "user", "subject_id": 1001, "daily_limit": 50_000, "monthly_limit": 90_000 });
    let role = json!({ "subject_type": "role", "subject_id": "coach", "daily_limit": 60_000, "monthly_limit": 80_000 });
    let of_user = parlor.put_quota(&user).await;
    let of_role = parlor.put_quota(&role).await;
    let etag = of_user["etag"].clone();
    assert_eq!(
        of_user,
        json!({ "site_id": 1, "subject_type": "user", "subject_id": "1001", "daily_limit": 50_000, "monthly_limit": 90_000,
                "daily_used": charged, "monthly_used": charged, "etag": etag })
    );
    assert_eq!(parlor.quotas().await, [of_role.clone(), of_user.clone()]);
    let limits = own().await;
    assert_eq!(
        (&limits["day"]["limit"], &limits["month"]["limit"]),
        (&json!(50_000), &json!(80_000))
    );
    let read = parlor.get(VIEWER, QUOTAS).await;
    assert_eq!(read.ok()["items"], json!([of_role, of_user]));
    for (admin, count) in [(PLATFORM_ADMIN, 2), (OTHER_SITE_ADMIN, 0)] {
        let list = parlor.get(admin, QUOTAS).await;
        assert_eq!(list.ok()["items"].as_array().unwrap().len(), count);
    }

    // The version is that of the limits: usage does not change it.
    let replace = async |etag: &Value, body: &Value| {
        let request = parlor.request_as(SITE_ADMIN, "PUT", QUOTAS).json(body);
        answer(request.header("If-Match", etag.as_str().unwrap())).await
    };
    parlor.send(COACH, chat, "[[sim:say:好]]你好").await.ok();
    let none = json!({ "subject_type": "user", "subject_id": "1001", "daily_limit": null, "monthly_limit": null });
    let removed = replace(&etag, &none).await;
    assert_eq!(removed.ok()["daily_limit"], json!(null));
    assert_eq!(
        removed.headers["etag"],
        *removed.body["etag"].as_str().unwrap()
    );
    replace(&etag, &user)
        .await
        .refused_at(QUOTAS, 412, "conflict");
    assert_eq!(parlor.quotas().await.len(), 1);

    let audit = parlor
        .get(SITE_ADMIN, "/api/admin/ai/audit?action=quota.set")
        .await;
    let newest = &audit.ok()["items"][0];
    assert_eq!(
        (
            &audit.body["total"],
            &newest["object_id"],
            &newest["details"]
        ),
        (
            &json!(3),
            &json!("user/1001"),
            &json!({
                "before": { "daily_limit": 50_000, "monthly_limit": 90_000 },
                "after": { "daily_limit": null, "monthly_limit": null },
            })
        )
    );
}

#[tokio::test]
async fn quotas_of_unknown_subjects_and_of_other_sites_are_refused() {
    let parlor = Parlor::start().await;
    let body = |subject_type: Value, subject_id: Value| json!({ "subject_type": subject_type, "subject_id": subject_id, "daily_limit": 1, "monthly_limit": null });
    for (subject_type, subject_id, status, field) in [
        (json!("site"), json!("1"), 422, "subject_type"),
        (Value::Null, json!("1"), 422, "subject_type"),
        (json!("user"), Value::Null, 422, "subject_id"),
        (json!("user"), json!("coach"), 422, "subject_id"),
        (json!("user"), json!(["1001"]), 422, "subject_id"),
        (json!("role"), json!("admin"), 422, "subject_id"),
        (json!("bot"), json!("\u{0}"), 422, "subject_id"),
        (json!("user"), json!("2001"), 404, ""),
        (json!("user"), json!("9001"), 404, ""),
        (json!("bot"), json!(OTHER_SITES), 404, ""),
    ] {
        let body = body(subject_type, subject_id);
        let refused = parlor.call(SITE_ADMIN, "PUT", QUOTAS, &body).await;
        let code = if status == 404 {
            "not_found"
        } else {
            "invalid_request"
        };
        let refused = refused.refused_at(QUOTAS, status, code);
        assert_eq!(
            refused["field"].as_str().unwrap_or_default(),
            field,
            "{body}"
        );
    }
    for (limit, field) in [
        (json!(-1), "daily_limit"),
        (json!(1_000_000_000_001_i64), "daily_limit"),
    ] {
        let mut body = body(json!("role"), json!("coach"));
        body["daily_limit"] = limit;
        let refused = parlor.call(SITE_ADMIN, "PUT", QUOTAS, &body).await;
        assert_eq!(
            refused.refused_at(QUOTAS, 422, "invalid_request")["field"],
            field
        );
    }
    let quota = body(json!("role"), json!("coach"));
    for (admin, site, status, code) in [
        (SITE_ADMIN, json!(2), 403, "forbidden"),
        (VIEWER, json!(1), 403, "forbidden"),
        (PLATFORM_ADMIN, Value::Null, 422, "invalid_request"),
        (PLATFORM_ADMIN, json!(99), 404, "not_found"),
    ] {
        let mut quota = quota.clone();
        quota["site_id"] = site;
        let refused = parlor.call(admin, "PUT", QUOTAS, &quota).await;
        refused.refused_at(QUOTAS, status, code);
    }
    assert_eq!(parlor.quotas().await, Vec::<Value>::new());
    let path = format!("{QUOTAS}?site_id=99");
    let unknown = parlor.get(PLATFORM_ADMIN, &path).await;
    unknown.refused_at(QUOTAS, 404, "not_found");
}
