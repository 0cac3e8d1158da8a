//! Budgets, quotas, usage, apps, runtime context and audit.

use super::{busy_parlor, page, shown, submit};
use crate::harness::{
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
    parlor::{COACH, Parlor},
};

const VIEWER: i64 = 1007;

/// The first value of a hidden field after a text of the page, decoded.
fn field(html: &str, after: &str, name: &str) -> String {
    let (_, rest) = html.split_once(after).unwrap();
    let (_, rest) = rest
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap();
    rest.split('"').next().unwrap().replace("&#34;", "\"")
}

async fn audited(parlor: &Parlor, action: &str) -> i64 {
    sqlx::query_scalar("select count(*) from biz.ai_admin_audit where action = $1")
        .bind(action)
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

const BUDGETS: &str = "/console/budgets";

#[tokio::test]
async fn budgets_and_quotas_are_changed_with_the_version_that_was_shown() {
    let parlor = busy_parlor().await;
    let first = shown(&parlor, SITE_ADMIN, BUDGETS).await;
    assert!(first.contains("These are the default limits"), "{first}");

    let limits = [
        ("do", "budget"),
        ("daily_limit", "70000"),
        ("monthly_limit", "900000"),
        ("daily_cost_limit", "12.5"),
        ("monthly_cost_limit", ""),
    ];
    let (status, location, _) = submit(&parlor, SITE_ADMIN, BUDGETS, &limits).await;
    assert_eq!((status.as_u16(), &*location), (303, "./budgets"));
    let changed = shown(&parlor, SITE_ADMIN, BUDGETS).await;
    for shown in ["70,000", "900,000", "12.5", "budget.set&#38;user_id=1004"] {
        assert!(changed.contains(shown), "{shown}: {changed}");
    }
    // Two admins saved the same version at once: one change is stored, the other one is refused.
    let version = field(&changed, "value=\"budget\"", "version");
    let versioned = [limits.as_slice(), &[("version", &*version)]].concat();
    let (one, other) = tokio::join!(
        submit(&parlor, SITE_ADMIN, BUDGETS, &versioned),
        submit(&parlor, SITE_ADMIN, BUDGETS, &versioned),
    );
    let mut statuses = [one.0.as_u16(), other.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 412]);
    let (status, _, html) = submit(
        &parlor,
        SITE_ADMIN,
        BUDGETS,
        &[
            ("do", "budget"),
            ("daily_limit", "-5"),
            ("monthly_limit", "8"),
        ],
    )
    .await;
    assert_eq!(status, 422);
    assert!(
        html.contains("role=\"alert\">daily_limit must be from") && html.contains("value=\"-5\""),
        "{html}"
    );
    // Only platform admins set caps.
    let capped = [limits.as_slice(), &[("with_caps", "1"), ("daily_cap", "1")]].concat();
    assert_eq!(submit(&parlor, SITE_ADMIN, BUDGETS, &capped).await.0, 403);
    assert_eq!(submit(&parlor, VIEWER, BUDGETS, &limits).await.0, 403);
    let capped = [
        limits.as_slice(),
        &[("with_caps", "1"), ("daily_cap", "80000")],
    ]
    .concat();
    assert_eq!(
        submit(&parlor, PLATFORM_ADMIN, BUDGETS, &capped).await.0,
        422
    );
    let (status, location, _) = submit(
        &parlor,
        PLATFORM_ADMIN,
        "/console/budgets?site_id=1",
        &capped,
    )
    .await;
    assert_eq!((status.as_u16(), &*location), (303, "./budgets?site_id=1"));
    let of_all = shown(&parlor, PLATFORM_ADMIN, BUDGETS).await;
    assert!(of_all.contains("Choose a site") && !of_all.contains("Change the budget"));

    quotas_are_changed(&parlor).await;
}

/// The quotas on the page of budgets.
async fn quotas_are_changed(parlor: &Parlor) {
    // Users, roles and bots are chosen from a list, which can be searched.
    let html = shown(parlor, SITE_ADMIN, BUDGETS).await;
    for option in ["role:coach", "user:1001", "user:1004"] {
        assert!(html.contains(&format!("value=\"{option}\"")), "{html}");
    }
    assert!(!html.contains("user:2001") && !html.contains("role:admin\""));
    let found = shown(parlor, SITE_ADMIN, "/console/budgets?find=1001").await;
    assert!(
        found.contains("user:1001") && !found.contains("user:1004"),
        "{found}"
    );
    let quota = [
        ("do", "quota"),
        ("subject", "user:1001"),
        ("daily_limit", "4321"),
    ];
    assert_eq!(submit(parlor, SITE_ADMIN, BUDGETS, &quota).await.0, 303);
    let html = shown(parlor, SITE_ADMIN, BUDGETS).await;
    assert!(html.contains("4,321") && html.contains("runs?user_id=1001"));
    let version = field(&html, "4,321", "version");
    // A second new quota of the same user does not replace the first one.
    let (status, _, html) = submit(parlor, SITE_ADMIN, BUDGETS, &quota).await;
    assert_eq!(status, 412);
    assert!(html.contains("role=\"alert\">The stored version"), "{html}");
    let change = [
        ("do", "quota"),
        ("subject_type", "user"),
        ("subject_id", "1001"),
        ("daily_limit", "99"),
        ("version", &*version),
    ];
    assert_eq!(submit(parlor, SITE_ADMIN, BUDGETS, &change).await.0, 303);
    assert_eq!(submit(parlor, SITE_ADMIN, BUDGETS, &change).await.0, 412);
    let of_other_site = [
        ("do", "quota"),
        ("subject", "user:2001"),
        ("daily_limit", "1"),
    ];
    let unknown = submit(parlor, SITE_ADMIN, BUDGETS, &of_other_site).await;
    assert_eq!(unknown.0, 404);
    let html = shown(parlor, SITE_ADMIN, BUDGETS).await;
    let version = field(&html, "Remove", "version");
    let remove = [
        ("do", "quota"),
        ("subject_type", "user"),
        ("subject_id", "1001"),
        ("remove", "1"),
        ("version", &*version),
    ];
    assert_eq!(submit(parlor, SITE_ADMIN, BUDGETS, &remove).await.0, 303);
    assert!(
        shown(parlor, SITE_ADMIN, BUDGETS)
            .await
            .contains("No quotas.")
    );
    assert_eq!(audited(parlor, "quota.set").await, 3);
}

#[tokio::test]
async fn usage_leads_to_its_runs_and_to_the_same_rows_as_csv() {
    let parlor = busy_parlor().await;
    parlor.sum_up_usage_days().await;
    for (by, link) in [
        ("day", "runs?date_from="),
        ("app", "runs?app_type=app1%5Fchat&#38;date_from="),
        ("user", "runs?user_id=1001&#38;date_from="),
        ("model", "runs?model_id="),
        ("bot", "(none)"),
    ] {
        let place = format!("/console/usage?group_by={by}");
        let html = shown(&parlor, SITE_ADMIN, &place).await;
        assert!(html.contains(link), "{by}: {html}");
        assert!(html.contains("<rect ") && html.contains("usage.csv?group_by="));
        let csv = shown(&parlor, SITE_ADMIN, &place.replace("usage", "usage.csv")).await;
        assert!(csv.starts_with("\u{feff}key,label,calls,"), "{csv}");
    }
    let (status, _) = page(
        &parlor,
        SITE_ADMIN,
        "/console/usage?date_from=2020-01-01&date_to=2026-01-01",
    )
    .await;
    assert_eq!(status, 422);
    // Every export is in the audit log, that of the audit log, too.
    assert_eq!(audited(&parlor, "usage.export").await, 5);
    let csv = shown(&parlor, SITE_ADMIN, "/console/audit.csv").await;
    assert!(csv.contains("usage.export") && csv.contains("audit.export"));
    let html = shown(&parlor, SITE_ADMIN, "/console/audit").await;
    assert!(html.contains("exported usage") && html.contains("exported the audit log"));
    // The user has a name.
    assert!(html.contains(" (1004)</a>"), "{html}");

    for (days, bars) in [("", 7), ("?days=7", 7), ("?days=30", 30)] {
        let html = shown(&parlor, SITE_ADMIN, &format!("/console{days}")).await;
        let charts = html.matches("<rect ").count();
        assert_eq!(charts, 2 * bars, "calls and tokens of {days}: {html}");
    }
    assert_eq!(page(&parlor, SITE_ADMIN, "/console?days=8").await.0, 422);
    let other = shown(&parlor, OTHER_SITE_ADMIN, "/console/usage?group_by=user").await;
    assert!(other.contains("No calls in these days"), "{other}");
}

#[tokio::test]
async fn runs_and_feedback_are_exported_as_their_readers_may_see_them() {
    let parlor = busy_parlor().await;
    let html = shown(&parlor, SITE_ADMIN, "/console/runs?status=failed").await;
    let (_, link) = html.split_once("href=\"./runs.csv?").unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    assert!(link.starts_with("status=failed&date_from="), "{link}");
    let place = format!("/console/runs.csv?{link}");
    let csv = shown(&parlor, SITE_ADMIN, &place).await;
    assert!(csv.starts_with("\u{feff}id,app_type,"), "{csv}");
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.contains(",failed,")));
    assert_eq!(audited(&parlor, "run_logs.export").await, 1);
    // Both ends of the range are required, and a table has no pages.
    for refused in [
        "/console/runs.csv",
        &*format!("{place}&page=2"),
        "/console/runs.csv?date_from=2026-01-01&date_to=2026-06-01",
    ] {
        assert_eq!(page(&parlor, SITE_ADMIN, refused).await.0, 422, "{refused}");
    }
    assert_eq!(page(&parlor, COACH, &place).await.0, 403);
    let message = |csv: &str| csv.lines().nth(1).unwrap().split(',').nth(13).map(str::len);
    assert!(message(&csv) > Some(0));
    let hidden = shown(&parlor, VIEWER, &place).await;
    assert_eq!(message(&hidden), Some(0), "{hidden}");

    let feedback = "/console/feedback.csv";
    let csv = shown(&parlor, SITE_ADMIN, feedback).await;
    assert!(csv.starts_with("\u{feff}id,site_id,subject_type"), "{csv}");
    assert_eq!(page(&parlor, VIEWER, feedback).await.0, 403);
}

#[tokio::test]
async fn apps_and_prices_are_changed_on_their_pages() {
    const PAGE: &str = "/console/apps";
    let parlor = busy_parlor().await;
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    let version = field(&html, "value=\"app3_clue\"", "version");
    let set = [
        ("app_type", "app3_clue"),
        ("version", &*version),
        ("enabled", "true"),
        ("fallback_application_id", "spare-application-7788"),
        ("first_token_seconds", "45"),
        ("rag_options", "{\"pipeline_ids\": [\"a\"]}"),
    ];
    assert_eq!(submit(&parlor, VIEWER, PAGE, &set).await.0, 403);
    let (status, location, html) = submit(&parlor, SITE_ADMIN, PAGE, &set).await;
    assert_eq!((status.as_u16(), &*location), (303, "./apps"), "{html}");
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    assert!(html.contains("…7788") && !html.contains("spare-application-7788"));
    assert!(html.contains("pipeline_ids"));
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &set).await;
    assert_eq!(status, 412, "{html}");
    let version = field(&html, "value=\"app3_clue\"", "version");
    let wrong = [
        ("app_type", "app3_clue"),
        ("version", &*version),
        ("rag_options", "no JSON"),
    ];
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &wrong).await;
    assert_eq!(status, 422);
    assert!(
        html.contains("role=\"alert\">rag_options") && html.contains("no JSON"),
        "{html}"
    );
    // Without a site, a platform admin changes the defaults.
    let html = shown(&parlor, PLATFORM_ADMIN, PAGE).await;
    assert!(html.contains("apps?site_id=1"), "{html}");
    let version = field(&html, "value=\"app4_analysis\"", "version");
    let default = [
        ("app_type", "app4_analysis"),
        ("version", &*version),
        ("enabled", "false"),
    ];
    assert_eq!(submit(&parlor, PLATFORM_ADMIN, PAGE, &default).await.0, 303);
    let site: Option<i64> =
        sqlx::query_scalar("select site_id from biz.ai_apps where enabled = false")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!(site, None);

    let prices = "/console/apps/prices";
    let price = [
        ("model", "qwen-test"),
        ("valid_from", "2026-11-01"),
        ("up_to_1", "1000"),
        ("input_1", "0.8"),
        ("output_1", "2"),
        ("input_2", "2.4"),
        ("output_2", "20"),
    ];
    assert_eq!(submit(&parlor, SITE_ADMIN, prices, &price).await.0, 403);
    let (status, location, html) = submit(&parlor, PLATFORM_ADMIN, prices, &price).await;
    assert_eq!(
        (status.as_u16(), &*location),
        (303, "../apps/prices"),
        "{html}"
    );
    let html = shown(&parlor, SITE_ADMIN, prices).await;
    assert!(html.contains("qwen-test") && html.contains("2.4") && !html.contains("<summary>"));
    let (status, _, html) = submit(&parlor, PLATFORM_ADMIN, prices, &price).await;
    assert_eq!(status, 412, "a new price does not replace another one");
    let version = field(&html, "value=\"qwen-test\"", "version");
    let empty = [
        ("model", "qwen-test"),
        ("valid_from", "2026-11-01"),
        ("version", &*version),
    ];
    assert_eq!(submit(&parlor, PLATFORM_ADMIN, prices, &empty).await.0, 422);
    let remove = [empty.as_slice(), &[("remove", "1")]].concat();
    assert_eq!(
        submit(&parlor, PLATFORM_ADMIN, prices, &remove).await.0,
        303
    );
    assert!(
        !shown(&parlor, SITE_ADMIN, prices)
            .await
            .contains("qwen-test")
    );
}

#[tokio::test]
async fn the_runtime_context_is_set_and_the_audit_log_shows_what_changed() {
    const PAGE: &str = "/console/runtime-context";
    let parlor = busy_parlor().await;
    let set = [("mode", "sandbox"), ("sandbox_date", "2026-05-01")];
    assert_eq!(submit(&parlor, VIEWER, PAGE, &set).await.0, 403);
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PAGE, &[("mode", "sandbox")]).await;
    assert_eq!(status, 422);
    assert!(
        html.contains("role=\"alert\">sandbox_date is required"),
        "{html}"
    );
    let elsewhere = "/console/runtime-context?site_id=2";
    assert_eq!(submit(&parlor, SITE_ADMIN, elsewhere, &set).await.0, 403);
    assert_eq!(submit(&parlor, PLATFORM_ADMIN, PAGE, &set).await.0, 422);
    assert_eq!(submit(&parlor, SITE_ADMIN, PAGE, &set).await.0, 303);
    let html = shown(&parlor, SITE_ADMIN, PAGE).await;
    assert!(html.contains("class=\"banner\"") && html.contains("2026-05-01"));

    let audit = "/console/audit?action=runtime_context.set";
    let html = shown(&parlor, SITE_ADMIN, audit).await;
    for part in [
        "set the runtime context",
        "<code>mode</code>: <del>live</del> → <ins>sandbox</ins>",
        "<ins>2026-05-01</ins>",
        "audit.csv?action=runtime%5Fcontext%2Eset",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let csv = shown(&parlor, SITE_ADMIN, &audit.replace("audit?", "audit.csv?")).await;
    assert!(csv.starts_with("\u{feff}id,site_id,user_id,"), "{csv}");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let other = shown(&parlor, OTHER_SITE_ADMIN, "/console/audit").await;
    assert!(!other.contains("runtime_context.set</code>"), "{other}");
    assert_eq!(page(&parlor, COACH, audit).await.0, 403);
    assert_eq!(
        page(&parlor, SITE_ADMIN, "/console/audit?action=none")
            .await
            .0,
        422
    );
}
