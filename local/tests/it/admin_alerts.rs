//! Alerts: failed runs, single or grouped by cause, and how admins settle them.

use serde_json::{Value, json};

use crate::harness::{
    parlor::{Answer, COACH, Parlor},
    routes::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
};

const PATH: &str = "/api/admin/ai/alerts";

/// Inserts `many` failures of one cause, a second apart, the first one second after the hour.
/// Returns their ids.
async fn failures(
    parlor: &Parlor,
    site: i64,
    many: i64,
    hour: i64,
    (app, status, code): (&str, &str, &str),
) -> Vec<i64> {
    sqlx::query_scalar(
        "insert into biz.ai_run_logs (site_id, app_type, status, alert_status, trigger_type, error_code, error_message, local_day, created_at)
         select $1, $4, $5, 'pending', 'event', $6, '第 ' || n || ' 次', '2026-03-05',
                timestamptz '2026-03-05T00:00:00Z' + $3 * interval '1 hour' + n * interval '1 second'
         from generate_series(1, $2) n returning id",
    )
    .bind(site)
    .bind(many)
    .bind(hour)
    .bind(app)
    .bind(status)
    .bind(code)
    .fetch_all(&parlor.db)
    .await
    .unwrap()
}

const REFUSED: (&str, &str, &str) = ("app3_clue", "failed", "upstream_refused");
const LATE: (&str, &str, &str) = ("app3_clue", "timeout", "upstream_timeout");
const OPEN: (&str, &str, &str) = ("app2_finance", "circuit_open", "circuit_open");

async fn list(parlor: &Parlor, user: i64, query: &str) -> Value {
    parlor
        .get(user, &format!("{PATH}?{query}"))
        .await
        .ok()
        .clone()
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

fn ids(page: &Value) -> Vec<i64> {
    items(page)
        .iter()
        .map(|item| item["id"].as_i64().unwrap())
        .collect()
}

async fn walk(parlor: &Parlor, user: i64, query: &str) -> Vec<i64> {
    let mut page = list(parlor, user, query).await;
    let mut walked = ids(&page);
    while let Some(cursor) = page["next_cursor"].as_str() {
        page = list(parlor, user, &format!("{query}&cursor={cursor}")).await;
        walked.extend(ids(&page));
    }
    walked
}

async fn settle(parlor: &Parlor, user: i64, id: i64, what: &str) -> Answer {
    parlor
        .post(user, &format!("{PATH}/{id}/{what}"), &Value::Null)
        .await
}

/// The status of each alert, by id.
async fn standing(parlor: &Parlor, ids: &[i64]) -> Vec<String> {
    sqlx::query_scalar("select alert_status from biz.ai_run_logs where id = any($1) order by id")
        .bind(ids)
        .fetch_all(&parlor.db)
        .await
        .unwrap()
}

async fn audit(parlor: &Parlor) -> Vec<Value> {
    sqlx::query_scalar("select to_jsonb(a) from biz.ai_admin_audit a order by id")
        .fetch_all(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn only_failed_runs_and_jobs_are_alerts() {
    let parlor = Parlor::start().await;
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    parlor.send(COACH, chat, "[[sim:fail-mid]]你好").await.ok();
    parlor.settled().await;
    let page = list(&parlor, SITE_ADMIN, "alert_status=pending").await;
    assert_eq!((&page["total"], items(&page).len()), (&json!(1), 1));
    let (item, run) = (&items(&page)[0], parlor.last_run().await);
    for name in [
        "id",
        "site_id",
        "app_type",
        "status",
        "alert_status",
        "error_code",
        "error_message",
    ] {
        assert_eq!(item[name], run[name], "{name}");
    }
    assert_eq!(
        (&item["status"], &item["alert_status"], &item["occurrences"]),
        (&json!("failed"), &json!("pending"), &json!(1))
    );
    assert_eq!(
        (&item["first_at"], &item["last_at"]),
        (&item["created_at"], &item["created_at"])
    );
}

#[tokio::test]
async fn alerts_are_filtered_and_paged_without_repeats() {
    let parlor = Parlor::start().await;
    let mut expected = failures(&parlor, 1, 12, 1, REFUSED).await;
    expected.extend(failures(&parlor, 1, 5, 2, LATE).await);
    let open = failures(&parlor, 1, 4, 3, OPEN).await;
    expected.extend(&open);
    expected.reverse();
    failures(&parlor, 2, 3, 4, OPEN).await;
    assert_eq!(walk(&parlor, SITE_ADMIN, "page_size=4").await, expected);
    settle(&parlor, SITE_ADMIN, open[0], "ack").await.ok();
    settle(&parlor, SITE_ADMIN, open[1], "ignore").await.ok();
    for (user, query, total) in [
        (SITE_ADMIN, "", 21),
        (SITE_ADMIN, "alert_status=pending", 19),
        (SITE_ADMIN, "alert_status=acknowledged", 1),
        (SITE_ADMIN, "alert_status=ignored&app_type=app2_finance", 1),
        (SITE_ADMIN, "alert_status=ignored&app_type=app3_clue", 0),
        (SITE_ADMIN, "app_type=app3_clue", 17),
        (
            SITE_ADMIN,
            "app_type=app3_clue&date_to=2026-03-05T01:59:59Z",
            12,
        ),
        (SITE_ADMIN, "date_from=2026-03-05&date_to=2026-03-05", 21),
        (SITE_ADMIN, "date_from=2026-03-06", 0),
        (OTHER_SITE_ADMIN, "", 3),
        (PLATFORM_ADMIN, "", 24),
        (PLATFORM_ADMIN, "site_id=2&app_type=app2_finance", 3),
    ] {
        let page = list(&parlor, user, &format!("{query}&page_size=100")).await;
        assert_eq!(
            (&page["total"], items(&page).len()),
            (&json!(total), total),
            "{user} {query}"
        );
    }
    for (query, field) in [
        ("alert_status=seen", "alert_status"),
        ("app_type=app9", "app_type"),
        ("group=yes", "group"),
        ("date_to=never", "date_to"),
        ("page_size=0", "page_size"),
    ] {
        let refused = parlor.get(SITE_ADMIN, &format!("{PATH}?{query}")).await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            field,
            "{query}"
        );
    }
    parlor
        .get(SITE_ADMIN, &format!("{PATH}?site_id=2"))
        .await
        .refused_at(PATH, 403, "forbidden");
}

#[tokio::test]
async fn a_repeated_failure_is_one_item() {
    let parlor = Parlor::start().await;
    let refused = failures(&parlor, 1, 12, 1, REFUSED).await;
    let late = failures(&parlor, 1, 5, 2, LATE).await;
    let open = failures(&parlor, 1, 4, 3, OPEN).await;
    let elsewhere = failures(&parlor, 2, 3, 4, OPEN).await;
    let page = list(&parlor, SITE_ADMIN, "group=true").await;
    assert_eq!(
        (&page["total"], &page["total_is_estimate"]),
        (&json!(3), &json!(false))
    );
    assert_eq!(ids(&page), [open[3], late[4], refused[11]]);
    let item = &items(&page)[2];
    assert_eq!(item["occurrences"], 12);
    assert_eq!(item["error_message"], "第 12 次");
    assert_eq!(
        (&item["first_at"], &item["last_at"]),
        (
            &json!("2026-03-05T01:00:01Z"),
            &json!("2026-03-05T01:00:12Z")
        )
    );
    assert_eq!(item["created_at"], item["last_at"]);
    assert_eq!(list(&parlor, SITE_ADMIN, "group=false").await["total"], 21);

    assert_eq!(
        walk(&parlor, PLATFORM_ADMIN, "group=true&page_size=1").await,
        [elsewhere[2], open[3], late[4], refused[11]]
    );
    // Acknowledged alerts form a group of their own.
    settle(&parlor, SITE_ADMIN, refused[11], "ack").await.ok();
    let pending = list(
        &parlor,
        SITE_ADMIN,
        "group=true&alert_status=pending&app_type=app3_clue",
    )
    .await;
    assert_eq!(ids(&pending), [late[4], refused[10]]);
    assert_eq!(items(&pending)[1]["occurrences"], 11);
    assert_eq!(list(&parlor, SITE_ADMIN, "group=true").await["total"], 4);
    let recent = list(
        &parlor,
        SITE_ADMIN,
        "group=true&date_from=2026-03-05T01:00:10Z&alert_status=pending",
    )
    .await;
    assert_eq!(items(&recent)[2]["occurrences"], 2);
}

#[tokio::test]
async fn a_truncated_grouping_is_marked() {
    let parlor = Parlor::start().await;
    failures(&parlor, 1, 1_200, 1, LATE).await;
    let newest = failures(&parlor, 1, 2, 2, OPEN).await;
    let page = list(&parlor, SITE_ADMIN, "group=true").await;
    assert_eq!(
        (&page["total"], &page["total_is_estimate"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(items(&page)[0]["id"], newest[1]);
    assert_eq!(items(&page)[1]["occurrences"], 1_000);
}

#[tokio::test]
async fn an_alert_is_settled_once_and_may_change_its_status() {
    let parlor = Parlor::start().await;
    let alerts = failures(&parlor, 1, 3, 1, LATE).await;
    for (what, stands, affected) in [
        ("ack", "acknowledged", 1),
        ("ack", "acknowledged", 0),
        ("ignore", "ignored", 1),
        ("ignore", "ignored", 0),
        ("ack", "acknowledged", 1),
    ] {
        let answer = settle(&parlor, SITE_ADMIN, alerts[1], what).await;
        assert_eq!(
            answer.ok(),
            &json!({ "id": alerts[1], "alert_status": stands, "affected": affected })
        );
        assert_eq!(
            standing(&parlor, &alerts).await,
            ["pending", stands, "pending"]
        );
    }
    let audit = audit(&parlor).await;
    let actions: Vec<&Value> = audit.iter().map(|row| &row["action"]).collect();
    assert_eq!(
        actions,
        ["alert.acknowledge", "alert.ignore", "alert.acknowledge"]
    );
    assert_eq!(
        (
            &audit[0]["site_id"],
            &audit[0]["user_id"],
            &audit[0]["object_id"],
            &audit[0]["details"]["affected"]
        ),
        (
            &json!(1),
            &json!(SITE_ADMIN),
            &json!(alerts[1].to_string()),
            &json!(1)
        )
    );
}

#[tokio::test]
async fn settling_a_missing_or_foreign_alert_is_a_404() {
    let parlor = Parlor::start().await;
    let alert = failures(&parlor, 1, 1, 1, LATE).await[0];
    let chat = parlor.open(COACH, "t").await;
    parlor.send(COACH, chat, "[[sim:echo]]你好").await.ok();
    parlor.settled().await;
    let no_alert = parlor.last_run().await["id"].as_i64().unwrap();
    for what in ["ack", "ignore", "ack?group=true"] {
        for (user, id) in [
            (OTHER_SITE_ADMIN, alert),
            (SITE_ADMIN, no_alert),
            (SITE_ADMIN, i64::MAX),
        ] {
            settle(&parlor, user, id, what)
                .await
                .refused_at(PATH, 404, "not_found");
        }
    }
    for what in ["ack", "ignore"] {
        settle(&parlor, PLATFORM_ADMIN, alert, &format!("{what}?site_id=2"))
            .await
            .refused_at(PATH, 404, "not_found");
        settle(
            &parlor,
            OTHER_SITE_ADMIN,
            alert,
            &format!("{what}?site_id=1"),
        )
        .await
        .refused_at(PATH, 403, "forbidden");
        let refused = settle(&parlor, PLATFORM_ADMIN, alert, what).await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            "site_id"
        );
        let refused = settle(&parlor, SITE_ADMIN, alert, &format!("{what}?group=1")).await;
        assert_eq!(
            refused.refused_at(PATH, 422, "invalid_request")["field"],
            "group"
        );
    }
    assert_eq!(standing(&parlor, &[alert]).await, ["pending"]);
    assert!(audit(&parlor).await.is_empty());
    assert_eq!(
        settle(&parlor, PLATFORM_ADMIN, alert, "ack?site_id=1")
            .await
            .ok()["affected"],
        1
    );
}

#[tokio::test]
async fn settling_a_cause_skips_alerts_that_are_settled_already() {
    let parlor = Parlor::start().await;
    let late = failures(&parlor, 1, 5, 1, LATE).await;
    let others = [
        failures(&parlor, 1, 1, 1, REFUSED).await,
        failures(&parlor, 1, 1, 1, ("app3_clue", "timeout", "another")).await,
        failures(
            &parlor,
            1,
            1,
            1,
            ("app4_analysis", "timeout", "upstream_timeout"),
        )
        .await,
        failures(&parlor, 2, 1, 1, LATE).await,
    ]
    .concat();
    settle(&parlor, SITE_ADMIN, late[0], "ignore").await.ok();
    for affected in [4, 0] {
        let answer = settle(&parlor, SITE_ADMIN, late[4], "ack?group=true").await;
        assert_eq!(
            answer.ok(),
            &json!({ "id": late[4], "alert_status": "acknowledged", "affected": affected })
        );
    }
    assert_eq!(
        standing(&parlor, &late).await,
        [
            "ignored",
            "acknowledged",
            "acknowledged",
            "acknowledged",
            "acknowledged"
        ]
    );
    assert_eq!(standing(&parlor, &others).await, ["pending"; 4]);
    assert_eq!(audit(&parlor).await.len(), 2);
    // The alert in the path changes in any case. Others of its cause change only if they are
    // pending.
    let again = failures(&parlor, 1, 2, 2, LATE).await;
    let answer = settle(&parlor, SITE_ADMIN, late[0], "ack?group=true").await;
    assert_eq!(answer.ok()["affected"], 3);
    assert_eq!(standing(&parlor, &again).await, ["acknowledged"; 2]);
}

#[tokio::test]
async fn concurrent_settling_settles_each_alert_once() {
    let parlor = Parlor::start().await;
    let late = failures(&parlor, 1, 60, 1, LATE).await;
    let calls = (0..4).map(|n| {
        let parlor = &parlor;
        let id = late[n * 15];
        async move {
            settle(parlor, SITE_ADMIN, id, "ack?group=true").await.ok()["affected"]
                .as_i64()
                .unwrap()
        }
    });
    let affected = futures_util::future::join_all(calls).await;
    assert_eq!(affected.iter().sum::<i64>(), 60, "{affected:?}");
    let rows = audit(&parlor).await;
    assert_eq!(
        rows.len(),
        affected.iter().filter(|affected| **affected > 0).count()
    );

    let one = failures(&parlor, 1, 1, 2, OPEN).await[0];
    let both = tokio::join!(
        settle(&parlor, SITE_ADMIN, one, "ack"),
        settle(&parlor, SITE_ADMIN, one, "ack")
    );
    let affected = [
        both.0.ok()["affected"].as_i64(),
        both.1.ok()["affected"].as_i64(),
    ];
    assert_eq!(affected.into_iter().flatten().sum::<i64>(), 1);
    assert_eq!(audit(&parlor).await.len(), rows.len() + 1);
}
