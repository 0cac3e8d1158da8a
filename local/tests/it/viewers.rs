//! A viewer reads the desk of its site without texts, changes nothing, and chats like staff.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{
    jobs::{SITE_ADMIN, TRIGGER},
    parlor::{COACH, Parlor, Setup, answer},
    routes::{self, VIEWER},
};

const DESK: &str = "/api/admin/ai";

/// Members that a viewer never sees.
const TEXTS: [&str; 10] = [
    "request_prompt",
    "response_text",
    "question",
    "answer",
    "result_json",
    "comment",
    "text",
    "content",
    "error_message",
    "payload",
];

/// The names of the texts in a response that are not null.
fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if TEXTS.contains(&&**name) && !member.is_null() {
                    found.insert(name.clone());
                }
                texts(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// A reply with feedback and a resolved report, a failed job, and results.
async fn parlor() -> Parlor {
    let parlor = Parlor::with_business(Setup::default()).await;
    let chat = parlor.open(COACH, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let reply = parlor
        .post(COACH, &path, &json!({ "content": "你好" }))
        .await;
    let message = reply.ok()["aiReply"]["id"].clone();
    let feedback = format!("/api/xcx/chat/messages/{message}/feedback");
    let thumb = json!({ "rating": "down", "reasons": ["other"], "comment": "不准" });
    let request = parlor.request_as(COACH, "PUT", &feedback).json(&thumb);
    answer(request).await.ok();
    let report = json!({ "subjectType": "message", "subjectId": message, "reason": "other", "text": "不对" });
    let report = parlor.post(COACH, "/api/xcx/reports", &report).await;
    let resolve = format!("{DESK}/reports/{}/resolve", report.created()["reportId"]);
    let resolved = json!({ "answer": "已处理" });
    parlor.post(SITE_ADMIN, &resolve, &resolved).await.ok();
    let scenario = Some("bad-json".parse().unwrap());
    parlor
        .simulator
        .set_scenario(Some("app8_clue_consolidated"), scenario);
    parlor.member_paid(10_001, 1).await;
    parlor.work().await;
    parlor
}

/// The paths of all lists of the desk, and of one run and one job.
async fn paths(parlor: &Parlor) -> Vec<String> {
    let first = async |path: &str| {
        let page = parlor.get(SITE_ADMIN, path).await;
        format!("{path}/{}", page.ok()["items"][0]["id"])
    };
    let mut paths: Vec<String> = routes::all()
        .into_iter()
        .filter(|route| route.method == "GET" && route.is_for_admins())
        .map(|route| route.path)
        .collect();
    paths.push(first(&format!("{DESK}/run-logs")).await);
    paths.push(first(TRIGGER).await);
    paths
}

#[tokio::test]
async fn a_viewer_reads_every_list_of_the_desk_without_texts() {
    let parlor = parlor().await;
    let mut shown = BTreeSet::new();
    for path in paths(&parlor).await {
        let admin = parlor.get(SITE_ADMIN, &path).await;
        let viewer = parlor.get(VIEWER, &path).await;
        assert_eq!(viewer.status, admin.status, "{path}: {}", viewer.body);
        texts(&admin.body, &mut shown);
        let mut seen = BTreeSet::new();
        texts(&viewer.body, &mut seen);
        assert_eq!(seen, BTreeSet::new(), "{path}");
        let items = |body: &Value| body["items"].as_array().map(Vec::len);
        assert_eq!(items(&viewer.body), items(&admin.body), "{path}");
    }
    let all: BTreeSet<String> = TEXTS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(shown, all, "an admin sees each of them");
    // The admin read the prompt of one run; the viewer saw none.
    let readers: Vec<i64> = sqlx::query_scalar(
        "select user_id from biz.ai_admin_audit where action = 'run.read' and object_id ~ '^[0-9]+$'",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert!(
        readers.iter().all(|user| *user == SITE_ADMIN),
        "{readers:?}"
    );
    assert!(!readers.is_empty());
    for path in ["dashboard", "run-logs"] {
        let other = format!("{DESK}/{path}?site_id=2");
        parlor
            .get(VIEWER, &other)
            .await
            .refused_at(&other, 403, "forbidden");
    }
}

#[tokio::test]
async fn a_viewer_exports_figures_but_no_texts() {
    let parlor = parlor().await;
    let table = async |user: i64, path: &str| {
        let path = format!("{DESK}/{path}?date_from=2000-01-01");
        let request = parlor
            .request_as(user, "GET", &path)
            .header("accept", "text/csv");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(table(VIEWER, "feedback").await.0, 403);
    assert_eq!(table(SITE_ADMIN, "feedback").await.0, 200);
    let days = {
        let today: String = sqlx::query_scalar("select local_day('Asia/Shanghai')::text")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
        format!("date_from={today}&date_to={today}")
    };
    let mut tables = Vec::new();
    for user in [SITE_ADMIN, VIEWER] {
        let path = format!("{DESK}/run-logs?{days}");
        let request = parlor
            .request_as(user, "GET", &path)
            .header("accept", "text/csv");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        tables.push(response.text().await.unwrap());
    }
    let message = "JSON";
    assert!(
        tables[0].contains(message) && !tables[1].contains(message),
        "{}",
        tables[0]
    );
    assert_eq!(tables[0].lines().count(), tables[1].lines().count());
    // Exports of the audit log have the same rows, and the earlier exports.
    for (user, rows) in [(SITE_ADMIN, 3), (VIEWER, 4)] {
        let (status, csv) = table(user, "audit").await;
        assert_eq!(status, 200);
        assert!(csv.starts_with("\u{feff}id,"), "{csv}");
        assert!(csv.matches(".export,").count() >= rows, "{csv}");
    }
    let exports: Vec<(String, i64)> = sqlx::query_as(
        "select action, user_id from biz.ai_admin_audit where action like '%.export' order by id",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let expected = [
        ("feedback.export", SITE_ADMIN),
        ("run_logs.export", SITE_ADMIN),
        ("run_logs.export", VIEWER),
        ("audit.export", SITE_ADMIN),
        ("audit.export", VIEWER),
    ];
    assert_eq!(
        exports,
        expected.map(|(action, user)| (action.to_owned(), user))
    );
}

#[tokio::test]
async fn a_viewer_chats_like_staff_and_reads_no_finance() {
    let parlor = parlor().await;
    let chat = parlor.open(VIEWER, "t").await;
    let path = format!("/api/xcx/chat/{chat}/messages");
    let body = json!({ "content": "你好" });
    let reply = parlor.post(VIEWER, &path, &body).await;
    assert!(
        !reply.ok()["aiReply"]["content"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let finance = "/api/xcx/insights?app=app2_finance&period=today&area=all";
    parlor
        .get(VIEWER, finance)
        .await
        .refused_at(finance, 403, "forbidden");
}
