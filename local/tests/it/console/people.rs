//! Feedback, reports, bots, users, channels and keys.

use serde_json::{Value, json};

use super::{QUESTION, shown, submit};
use crate::harness::{
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
    parlor::{COACH, OTHER_SITE, Parlor, STAFF, answer},
};

const VIEWER: i64 = 1007;

/// Asks a question. Returns the id of the reply.
async fn ask(parlor: &Parlor, task: &str) -> i64 {
    let chat = parlor.open(COACH, task).await;
    let sent = parlor.send(COACH, chat, QUESTION).await;
    sent.ok()["aiReply"]["id"].as_i64().unwrap()
}

async fn rate(parlor: &Parlor, message: i64, body: &Value) {
    let path = format!("/api/xcx/chat/messages/{message}/feedback");
    let request = parlor.request_as(COACH, "PUT", &path).json(body);
    answer(request).await.ok();
}

/// Reports a message. Returns the id of the report.
async fn report(parlor: &Parlor, message: i64) -> String {
    let body = json!({
        "subjectType": "message", "subjectId": message, "reason": "illegal", "text": "违规",
    });
    let reported = parlor.post(COACH, "/api/xcx/reports", &body).await;
    reported.created()["reportId"].to_string()
}

/// The part of a page that begins with `start`, up to the end of the row or entry.
fn part<'a>(html: &'a str, start: &str) -> &'a str {
    let begin = html
        .find(start)
        .unwrap_or_else(|| panic!("{start}: {html}"));
    let rest = &html[begin..];
    let end = ["</tr>", "</li>"].iter().filter_map(|end| rest.find(end));
    &rest[..end.min().unwrap_or(rest.len())]
}

/// The value of a hidden field.
fn hidden<'a>(html: &'a str, name: &str) -> &'a str {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = html
        .split_once(&start)
        .unwrap_or_else(|| panic!("{name}: {html}"));
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn feedback_shows_thumbs_down_with_question_and_run_first() {
    let parlor = Parlor::start().await;
    let (bad, good) = (ask(&parlor, "a").await, ask(&parlor, "b").await);
    let down = json!({ "rating": "down", "reasons": ["inaccurate"], "comment": "数字不对" });
    rate(&parlor, bad, &down).await;
    rate(&parlor, good, &json!({ "rating": "up" })).await;

    let version: String =
        sqlx::query_scalar("select prompt_version from biz.ai_feedback where rating = 'down'")
            .fetch_one(&parlor.db)
            .await
            .unwrap();

    let entries = |html: &str| html.matches("<li class=\"card\">").count();
    let html = shown(&parlor, SITE_ADMIN, "/console/feedback").await;
    assert_eq!(entries(&html), 1, "{html}");
    for text in [
        QUESTION,
        "数字不对",
        "inaccurate",
        "thumb down",
        "/runs/",
        &version,
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    for (filter, count) in [
        ("rating=all", 2),
        ("rating=up", 1),
        ("app_type=app2_finance", 0),
        (&*format!("prompt_version={version}&rating=all"), 2),
        ("date_to=2020-01-01", 0),
        (&*format!("user_id={COACH}"), 1),
        ("user_id=1003&rating=all", 0),
    ] {
        let html = shown(&parlor, SITE_ADMIN, &format!("/console/feedback?{filter}")).await;
        assert_eq!(entries(&html), count, "{filter}: {html}");
    }
    for (user, total) in [(COACH, 2), (1003, 0)] {
        let path = format!("/api/admin/ai/feedback?user_id={user}");
        let list = parlor.get(SITE_ADMIN, &path).await;
        assert_eq!(list.ok()["total"], total, "{user}");
    }
    let html = shown(&parlor, VIEWER, "/console/feedback").await;
    assert!(html.contains("Hidden for viewers"), "{html}");
    assert!(
        !html.contains(QUESTION) && !html.contains("数字不对"),
        "{html}"
    );
    let html = shown(&parlor, OTHER_SITE_ADMIN, "/console/feedback?rating=all").await;
    assert_eq!(entries(&html), 0, "{html}");
}

#[tokio::test]
async fn a_report_is_resolved_on_its_page_and_its_message_is_blocked() {
    const PAGE: &str = "/console/reports";
    let parlor = Parlor::start().await;
    let message = ask(&parlor, "a").await;
    let id = report(&parlor, message).await;
    sqlx::query("update biz.ai_reports set due_at = now() - interval '1 day'")
        .execute(&parlor.db)
        .await
        .unwrap();
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    for text in [QUESTION, "违规", "illegal", "overdue"] {
        assert!(html.contains(text), "{text}: {html}");
    }
    let html = shown(&parlor, VIEWER, PAGE).await;
    assert!(!html.contains(QUESTION) && !html.contains("违规"), "{html}");
    assert!(!html.contains("name=\"do\""), "{html}");

    let resolve = [
        ("do", "resolve"),
        ("id", &*id),
        ("answer", "已处理"),
        ("block", "true"),
    ];
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &resolve[..2]).await;
    assert_eq!(status, 422);
    assert!(
        html.contains("answer is required") && html.contains("<details open>"),
        "{html}"
    );
    for (user, expected) in [
        (VIEWER, 403),
        (OTHER_SITE_ADMIN, 404),
        (PLATFORM_ADMIN, 422),
    ] {
        assert_eq!(
            submit(&parlor, user, PAGE, &resolve).await.0,
            expected,
            "{user}"
        );
    }
    let (status, location, _) = submit(&parlor, SITE_ADMIN, PAGE, &resolve).await;
    assert_eq!((status.as_u16(), &*location), (303, "reports"));
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &resolve).await;
    assert_eq!(status, 409);
    assert!(html.contains("the report was answered before"), "{html}");

    let html = shown(&parlor, SITE_ADMIN, "/console/reports?state=resolved").await;
    assert!(
        html.contains("已处理") && !html.contains(QUESTION),
        "{html}"
    );
    let message = message.to_string();
    let unblock = [("do", "unblock"), ("message_id", &*message)];
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &unblock).await.0, 303);
    let html = shown(&parlor, SITE_ADMIN, "/console/reports?state=all").await;
    assert!(html.contains(QUESTION), "{html}");
}

#[tokio::test]
async fn users_are_changed_in_the_version_that_the_page_showed() {
    const PAGE: &str = "/console/users";
    let parlor = Parlor::start().await;
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    let seen = hidden(part(&html, "<td>1002</td>"), "version").to_owned();
    let id = STAFF.to_string();
    let set = |role, version| {
        [
            ("do", "set"),
            ("id", &*id),
            ("role", role),
            ("status", "approved"),
            ("version", version),
        ]
    };
    for (user, expected) in [
        (VIEWER, 403),
        (OTHER_SITE_ADMIN, 404),
        (PLATFORM_ADMIN, 422),
    ] {
        let (status, ..) = submit(&parlor, user, PAGE, &set("manager", &seen)).await;
        assert_eq!(status, expected, "{user}");
    }
    let (status, location, _) = submit(&parlor, SITE_ADMIN, PAGE, &set("manager", &seen)).await;
    assert_eq!((status.as_u16(), &*location), (303, "users"));
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &set("coach", &seen)).await;
    assert_eq!(status, 412);
    let row = part(&html, "<td>1002</td>");
    let is_shown = row.contains("<td>manager</td>") && row.contains("value=\"coach\" selected");
    assert!(
        is_shown,
        "the stored role, and the one that was sent: {row}"
    );

    let own = SITE_ADMIN.to_string();
    let delete = |id| [("do", "delete_data"), ("id", id), ("keep_disabled", "true")];
    assert_eq!(
        submit(&parlor, SITE_ADMIN, PAGE, &delete(&own)).await.0,
        409
    );
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &delete(&id)).await.0, 303);
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    assert!(part(&html, "<td>1002</td>").contains("disabled"), "{html}");
}

#[tokio::test]
async fn channels_are_created_muted_and_deleted_and_secrets_are_never_shown() {
    const PAGE: &str = "/console/channels";
    const ADDRESS: &str = "https://hooks.example.com/abcdefghijklmnopqrst";
    let parlor = Parlor::start().await;
    let create = [
        ("do", "create"),
        ("kind", "webhook"),
        ("name", "on call"),
        ("url", ADDRESS),
        ("secret", "not to be seen"),
        ("level", "warning"),
        ("hourly_cap", "20"),
        ("enabled", "true"),
    ];
    for (user, expected) in [(VIEWER, 403), (PLATFORM_ADMIN, 422), (SITE_ADMIN, 303)] {
        assert_eq!(
            submit(&parlor, user, PAGE, &create).await.0,
            expected,
            "{user}"
        );
    }
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &create[..3]).await;
    assert_eq!(status, 422);
    assert!(
        html.contains("url is required") && html.contains("value=\"on call\""),
        "{html}"
    );

    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    assert!(html.contains("https://hooks.example.com/…qrst"), "{html}");
    assert!(
        !html.contains(ADDRESS) && !html.contains("not to be seen"),
        "{html}"
    );
    let (id, version) = (hidden(&html, "id"), hidden(&html, "version"));
    let set = [
        ("do", "set"),
        ("id", id),
        ("version", version),
        ("kind", "webhook"),
        ("name", "night"),
        ("mute", "8"),
    ];
    assert_eq!(submit(&parlor, OTHER_SITE_ADMIN, PAGE, &set).await.0, 404);
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &set).await.0, 303);
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &set).await.0, 412);
    let stored: (bool, bool, bool) = sqlx::query_as(
        "select url is not null and secret = 'not to be seen', enabled, muted_until > now() + interval '7 h'
         from biz.notification_channels where name = 'night'",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    assert_eq!(stored, (true, false, true), "address and secret are kept");
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &[("do", "test"), ("id", id)]).await;
    assert_eq!(status, 409, "{html}");
    let delete = [("do", "delete"), ("id", id)];
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &delete).await.0, 303);
    assert!(
        shown(&parlor, SITE_ADMIN, PAGE)
            .await
            .contains("No channels yet.")
    );
}

#[tokio::test]
async fn a_new_key_is_shown_once_and_can_be_revoked() {
    const PAGE: &str = "/console/api-keys";
    let parlor = Parlor::start().await;
    let create = [
        ("do", "create"),
        ("name", "etl"),
        ("days", "30"),
        ("scope", "usage:read"),
    ];
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &create[..3]).await;
    assert_eq!(status, 422);
    assert!(html.contains("scopes must not be empty"), "{html}");
    assert_eq!(submit(&parlor, VIEWER, PAGE, &create).await.0, 403);
    let (status, location, html) = submit(&parlor, SITE_ADMIN, PAGE, &create).await;
    assert_eq!((status.as_u16(), &*location), (200, ""));
    let (_, key) = html.split_once("data-copy=\"").unwrap();
    let key = key.split('"').next().unwrap();
    let usage = || {
        let request = parlor
            .request("GET", "/api/admin/ai/usage")
            .bearer_auth(key);
        answer(request)
    };
    usage().await.ok();
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    assert!(
        !html.contains(key) && html.contains(&key[key.len() - 4..]),
        "{html}"
    );

    let revoke = [("do", "revoke"), ("id", hidden(&html, "id"))];
    assert_eq!(
        submit(&parlor, OTHER_SITE_ADMIN, PAGE, &revoke).await.0,
        404
    );
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &revoke).await.0, 303);
    assert_eq!(usage().await.status, 401);
}

#[tokio::test]
async fn bots_are_created_changed_and_deleted_by_their_admins() {
    const PAGE: &str = "/console/bots";
    let parlor = Parlor::start().await;
    let (staff, other) = (STAFF.to_string(), OTHER_SITE.to_string());
    let create = |grants| {
        [
            ("do", "create"),
            ("name", "值班助手"),
            ("access", "granted"),
            ("grants", grants),
        ]
    };
    assert_eq!(submit(&parlor, VIEWER, PAGE, &create(&staff)).await.0, 403);
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &create(&other)).await;
    assert_eq!(status, 422);
    assert!(html.contains("grants has an unknown value"), "{html}");
    assert_eq!(
        submit(&parlor, SITE_ADMIN, PAGE, &create(&staff)).await.0,
        303
    );
    assert_eq!(
        submit(
            &parlor,
            PLATFORM_ADMIN,
            PAGE,
            &[("do", "create"), ("name", "公共")]
        )
        .await
        .0,
        303
    );

    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    assert!(
        !part(&html, "<td>公共").contains("<form"),
        "a bot of all sites"
    );
    let row = part(&html, "<td>值班助手");
    let (id, version) = (hidden(row, "id"), hidden(row, "version"));
    let set = |status| {
        [
            ("do", "set"),
            ("id", id),
            ("version", version),
            ("name", "夜班助手"),
            ("status", status),
        ]
    };
    assert_eq!(
        submit(&parlor, OTHER_SITE_ADMIN, PAGE, &set("disabled"))
            .await
            .0,
        404
    );
    assert_eq!(
        submit(&parlor, SITE_ADMIN, PAGE, &set("disabled")).await.0,
        303
    );
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &set("active")).await;
    assert_eq!(status, 412);
    assert!(
        part(&html, "<td>夜班助手").contains("status disabled"),
        "{html}"
    );
    let delete = [("do", "delete"), ("id", id)];
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &delete).await.0, 303);
    assert!(!shown(&parlor, SITE_ADMIN, PAGE).await.contains("夜班助手"));
}

#[tokio::test]
async fn agents_openers_and_words_have_their_own_pages() {
    const AGENTS: &str = "/console/bots/agents";
    const OPENERS: &str = "/console/bots/openers";
    const WORDS: &str = "/console/bots/words";
    let parlor = Parlor::start().await;
    let create = [
        ("do", "create"),
        ("name", "新智能体"),
        ("application_id", "app-of-tests-7xyz"),
    ];
    assert_eq!(submit(&parlor, SITE_ADMIN, AGENTS, &create).await.0, 403);
    assert_eq!(
        submit(&parlor, PLATFORM_ADMIN, AGENTS, &create).await.0,
        303
    );
    let html = shown(&parlor, PLATFORM_ADMIN, AGENTS).await;
    let row = part(&html, "<td>新智能体");
    assert!(
        row.contains("…7xyz") && !row.contains("app-of-tests"),
        "{row}"
    );
    let set = [
        ("do", "set"),
        ("id", hidden(row, "id")),
        ("version", hidden(row, "version")),
        ("name", "改名"),
    ];
    assert_eq!(submit(&parlor, PLATFORM_ADMIN, AGENTS, &set).await.0, 303);
    assert_eq!(submit(&parlor, PLATFORM_ADMIN, AGENTS, &set).await.0, 412);
    let html = shown(&parlor, SITE_ADMIN, AGENTS).await;
    assert!(
        part(&html, "<td>改名").contains("…7xyz"),
        "the id is kept: {html}"
    );
    assert_eq!(
        submit(&parlor, PLATFORM_ADMIN, AGENTS, &[("do", "delete"), set[1]])
            .await
            .0,
        303
    );

    let create = [
        ("do", "create"),
        ("place", "performance"),
        ("texts", "本月业绩如何？\n\n谁最好？"),
    ];
    assert_eq!(submit(&parlor, VIEWER, OPENERS, &create).await.0, 403);
    assert_eq!(submit(&parlor, SITE_ADMIN, OPENERS, &create).await.0, 303);
    let (status, _, html) = submit(&parlor, SITE_ADMIN, OPENERS, &create).await;
    assert_eq!(status, 412, "new openers replace nothing");
    let row = part(&html, "<td>performance</td>");
    assert!(row.contains("本月业绩如何？<br>谁最好？<br>"), "{row}");
    let remove = [
        ("do", "set"),
        ("place", "performance"),
        ("version", hidden(row, "version")),
    ];
    assert_eq!(
        submit(&parlor, OTHER_SITE_ADMIN, OPENERS, &remove).await.0,
        412
    );
    assert_eq!(submit(&parlor, SITE_ADMIN, OPENERS, &remove).await.0, 303);

    let add = [("do", "create"), ("word", "禁用词甲")];
    assert_eq!(submit(&parlor, VIEWER, WORDS, &add).await.0, 403);
    assert_eq!(submit(&parlor, SITE_ADMIN, WORDS, &add).await.0, 303);
    assert_eq!(submit(&parlor, SITE_ADMIN, WORDS, &add).await.0, 409);
    let html = shown(&parlor, SITE_ADMIN, WORDS).await;
    let delete = [
        ("do", "delete"),
        ("id", hidden(part(&html, "<td>禁用词甲"), "id")),
    ];
    assert_eq!(
        submit(&parlor, OTHER_SITE_ADMIN, WORDS, &delete).await.0,
        404
    );
    assert_eq!(submit(&parlor, SITE_ADMIN, WORDS, &delete).await.0, 303);
}
