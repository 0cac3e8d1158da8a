//! Alerts, jobs, batches, results and prewarm.

use serde_json::json;

use super::{page, shown, submit};
use crate::harness::{
    jobs::{OTHER_SITE_ADMIN, PLATFORM_ADMIN, SITE_ADMIN},
    parlor::{COACH, Parlor, Setup},
};

const API: &str = "/api/admin/ai";
const RESULTS: &str = "/console/results";
const VIEWER: i64 = 1007;
/// A member of site 1.
const MEMBER: i64 = 10_001;

/// Sends a form that succeeds. Returns the location.
async fn changed(parlor: &Parlor, user: i64, path: &str, fields: &[(&str, &str)]) -> String {
    let (status, location, html) = submit(parlor, user, path, fields).await;
    assert_eq!(status, 303, "{path} {fields:?}: {html}");
    location
}

/// Sends a form that is refused. Returns the page, which is shown again with the reason.
async fn refused(
    parlor: &Parlor,
    user: i64,
    path: &str,
    fields: &[(&str, &str)],
    expected: u16,
) -> String {
    let (status, _, html) = submit(parlor, user, path, fields).await;
    assert_eq!(status, expected, "{path} {fields:?}: {html}");
    if expected != 403 {
        assert!(html.contains("role=\"alert\"") || expected == 404, "{html}");
    }
    html
}

async fn count(parlor: &Parlor, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement)
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

/// Loads a page with a wrong filter.
async fn refused_query(parlor: &Parlor, path: &str) {
    assert_eq!(page(parlor, SITE_ADMIN, path).await.0, 422, "{path}");
}

#[track_caller]
fn has(html: &str, texts: &[&str]) {
    for text in texts {
        assert!(html.contains(text), "{text} is not in {html}");
    }
}

#[tokio::test]
async fn a_cause_is_acknowledged_on_the_page_of_alerts() {
    const PENDING: &str = "/console/alerts?alert_status=pending&app_type=app3_clue";
    let parlor = Parlor::start().await;
    let ids: Vec<i64> = sqlx::query_scalar(
        "insert into biz.ai_run_logs (site_id, app_type, status, alert_status, trigger_type, error_code, error_message, local_day)
         select 1, 'app3_clue', 'failed', 'pending', 'event', 'upstream_refused', 'only for admins', current_date
         from generate_series(1, 3) returning id",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let newest = ids.iter().max().unwrap().to_string();
    let runs = "runs?app_type=app3_clue&#38;status=failed&#38;error_code=upstream%5Frefused";
    let html = shown(&parlor, SITE_ADMIN, PENDING).await;
    has(&html, &[runs, ">3</a>", "only for admins", &newest]);
    let html = shown(&parlor, VIEWER, PENDING).await;
    has(&html, &[runs]);
    assert!(!html.contains("only for admins") && !html.contains("Acknowledge"));
    let path = format!("/console/{}", runs.replace("&#38;", "&"));
    has(&shown(&parlor, SITE_ADMIN, &path).await, &[&newest]);

    let all = [("do", "acknowledge"), ("id", &*newest), ("all", "1")];
    refused(&parlor, VIEWER, PENDING, &all, 403).await;
    refused(&parlor, OTHER_SITE_ADMIN, PENDING, &all, 404).await;
    refused(&parlor, PLATFORM_ADMIN, PENDING, &all, 422).await;
    let html = refused(&parlor, SITE_ADMIN, PENDING, &all[..1], 422).await;
    has(&html, &[">3</a>"]);

    // The bars of the cause, and the same in words.
    has(
        &html,
        &[
            "<path d=\"M23 20v-20h1v20z\"/>",
            ": 3, per interval at most 3\"",
        ],
    );

    // Another alert came after the page was loaded: nothing changes, and both numbers are shown.
    has(&html, &["name=\"expected\" value=\"3\""]);
    let expecting = [&all[..], &[("expected", "2")]].concat();
    let html = refused(&parlor, SITE_ADMIN, PENDING, &expecting, 409).await;
    has(
        &html,
        &["The page showed 2. Now it would be 3.", "value=\"3\""],
    );
    let stale = format!("{API}/alerts/{newest}/ack?group=true&expected=4");
    let answer = parlor.post(SITE_ADMIN, &stale, &json!({})).await;
    assert_eq!(answer.refused_at(API, 409, "conflict")["matching"], 3);
    let expecting = [&all[..], &[("expected", "3")]].concat();
    let location = changed(&parlor, SITE_ADMIN, PENDING, &expecting).await;
    assert_eq!(location, "alerts?alert_status=pending&app_type=app3%5Fclue");
    let html = shown(&parlor, SITE_ADMIN, PENDING).await;
    has(&html, &["There are no alerts"]);
    let left = "select count(*) from biz.ai_run_logs where alert_status = 'acknowledged'";
    assert_eq!(count(&parlor, left).await, 3);
}

#[tokio::test]
async fn a_job_is_retried_cancelled_and_run_now_on_its_page_and_in_bulk() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let job = parlor.member_paid(MEMBER, 1).await;
    parlor.work_until_done().await;
    let path = format!("/console/jobs/{job}");
    let html = shown(&parlor, SITE_ADMIN, &path).await;
    has(&html, &["status success\">done", "../runs/", "order_id"]);
    let html = shown(&parlor, VIEWER, &path).await;
    assert!(!html.contains("order_id") && !html.contains("value=\"retry\""));

    let retry = [("do", "retry")];
    refused(&parlor, VIEWER, &path, &retry, 403).await;
    refused(&parlor, OTHER_SITE_ADMIN, &path, &retry, 404).await;
    refused(&parlor, SITE_ADMIN, &path, &[], 422).await;
    let location = changed(&parlor, SITE_ADMIN, &path, &retry).await;
    let new = location.rsplit('/').next().unwrap().to_owned();
    let new_path = format!("/console/jobs/{new}");
    has(
        &shown(&parlor, SITE_ADMIN, &new_path).await,
        &["Retry of", &format!("jobs/{job}\""), "value=\"run-now\""],
    );
    let html = refused(&parlor, SITE_ADMIN, &path, &retry, 409).await;
    has(&html, &["a retry of it is pending or running"]);
    changed(&parlor, SITE_ADMIN, &new_path, &[("do", "run-now")]).await;
    changed(&parlor, SITE_ADMIN, &new_path, &[("do", "cancel")]).await;
    has(
        &shown(&parlor, SITE_ADMIN, &new_path).await,
        &["status cancelled", "value=\"retry\""],
    );

    let list = "/console/jobs?status=cancelled&event_type=consumption.settled";
    let html = shown(&parlor, SITE_ADMIN, list).await;
    has(
        &html,
        &[
            "Retry all jobs of this list (1)",
            "name=\"expected\" value=\"1\"",
        ],
    );
    let all_sites = shown(&parlor, PLATFORM_ADMIN, list).await;
    assert!(!all_sites.contains("Retry all jobs"), "needs a site");
    let wrong = [("do", "retry"), ("expected", "7")];
    refused(&parlor, VIEWER, list, &wrong, 403).await;
    let html = refused(&parlor, SITE_ADMIN, list, &wrong, 409).await;
    has(
        &html,
        &[
            "The page showed 7. Now it would be 1.",
            "name=\"expected\" value=\"1\"",
            "cancelled · 1</a>",
            "pending · 0</a>",
        ],
    );
    let right = [("do", "retry"), ("expected", "1")];
    changed(&parlor, SITE_ADMIN, list, &right).await;
    // The cancelled job is still in the list, but it has a retry.
    let html = refused(&parlor, SITE_ADMIN, list, &right, 409).await;
    has(&html, &["Now it would be 0."]);
    assert!(
        !html.contains("name=\"expected\""),
        "nothing is left to retry"
    );
    let pending = "/console/jobs?status=pending";
    let cancel = [("do", "cancel"), ("expected", "1")];
    changed(&parlor, SITE_ADMIN, pending, &cancel).await;
    has(
        &shown(&parlor, SITE_ADMIN, pending).await,
        &["There are no jobs"],
    );
}

#[tokio::test]
async fn more_jobs_than_the_list_counts_are_changed_after_their_number_was_shown() {
    let parlor = Parlor::start().await;
    parlor
        .execute(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, status)
             select 1, 'prewarm', 'schedule', 'prewarm', '{app2_finance}', 'failed' from generate_series(1, 1200)",
        )
        .await;
    let list = "/console/jobs?status=failed";
    let html = shown(&parlor, SITE_ADMIN, list).await;
    has(
        &html,
        &[
            "Retry all jobs of this list (at least 1,000)",
            "name=\"expected\" value=\"1000\"",
        ],
    );
    let least = [("do", "retry"), ("expected", "1000")];
    let html = refused(&parlor, SITE_ADMIN, list, &least, 409).await;
    has(
        &html,
        &[
            "The page showed 1,000. Now it would be 1,200.",
            "Retry all jobs of this list (1,200)",
            "name=\"expected\" value=\"1200\"",
        ],
    );
    let exact = [("do", "retry"), ("expected", "1200")];
    changed(&parlor, SITE_ADMIN, list, &exact).await;
    let retries = "select count(*) from biz.ai_trigger_jobs where retry_of is not null";
    assert_eq!(count(&parlor, retries).await, 1_200);
}

#[tokio::test]
async fn a_batch_is_estimated_confirmed_once_and_cancelled() {
    const BATCHES: &str = "/console/batches";
    let parlor = Parlor::with_business(Setup::default()).await;
    let html = refused(&parlor, SITE_ADMIN, BATCHES, &[("members", "7、8")], 422).await;
    has(&html, &["7、8</textarea>", "<details class=\"card\" open>"]);
    let members = format!("{MEMBER}；{MEMBER}\n");
    let fields = [
        ("app_types", "app7_customer_analysis"),
        ("app_types", "app3_clue"),
        ("members", &*members),
    ];
    refused(&parlor, VIEWER, BATCHES, &fields, 403).await;
    refused(&parlor, PLATFORM_ADMIN, BATCHES, &fields, 422).await;
    let location = changed(&parlor, SITE_ADMIN, BATCHES, &fields).await;
    let path = format!("/console/{}", location.trim_start_matches("./"));
    let html = shown(&parlor, SITE_ADMIN, &path).await;
    has(&html, &["Estimated tokens", "in 9 min", "(2)</button>"]);
    has(&html, &["cost not known"]);
    assert!(!html.contains("Tokens spent so far"), "{html}");
    let left = |html: &str| {
        let (_, rest) = html.split_once("for new batches</dt><dd>").unwrap();
        let left = rest.split('<').next().unwrap().replace(',', "");
        left.parse::<i64>().unwrap()
    };
    let before = left(&html);
    assert_eq!(
        count(&parlor, "select count(*) from biz.ai_trigger_jobs").await,
        0
    );

    let confirm = [("do", "confirm")];
    refused(&parlor, VIEWER, &path, &confirm, 403).await;
    refused(&parlor, OTHER_SITE_ADMIN, &path, &confirm, 404).await;
    changed(&parlor, SITE_ADMIN, &path, &confirm).await;
    let html = refused(&parlor, SITE_ADMIN, &path, &confirm, 409).await;
    has(
        &html,
        &["already confirmed", "<progress", "Cancel the rest (2)"],
    );
    has(&html, &["Tokens spent so far</dt><dd>0<small>¥0<"]);
    // What the confirmed batch has still to use is not left for others.
    assert_eq!(left(&html), before - 4_000);
    let id = path.rsplit('/').next().unwrap();
    has(
        &html,
        &[&format!("../jobs?batch_id={id}&#38;status=failed")],
    );
    let jobs = shown(&parlor, SITE_ADMIN, &format!("/console/jobs?batch_id={id}")).await;
    has(
        &jobs,
        &["pending · 1</a>", "failed · 0</a>", "Jobs of batch"],
    );
    let other = uuid::Uuid::nil();
    let jobs = shown(
        &parlor,
        SITE_ADMIN,
        &format!("/console/jobs?batch_id={other}"),
    )
    .await;
    has(&jobs, &["There are no jobs", "pending · 0</a>"]);
    refused_query(&parlor, "/console/jobs?batch_id=7").await;
    let jobs = parlor
        .get(
            SITE_ADMIN,
            &format!("{API}/trigger-jobs?batch_id={id}&status=pending"),
        )
        .await;
    assert_eq!(jobs.ok()["total"], 1);
    let retry = json!({ "filter": { "batch_id": id, "status": "failed" }, "expected": 1 });
    let jobs = parlor
        .post(SITE_ADMIN, &format!("{API}/trigger-jobs/retry"), &retry)
        .await;
    assert_eq!(jobs.refused_at(API, 409, "conflict")["matching"], 0);
    assert_eq!(
        count(&parlor, "select count(*) from biz.ai_trigger_jobs").await,
        1
    );
    changed(&parlor, SITE_ADMIN, &path, &[("do", "cancel")]).await;
    has(
        &shown(&parlor, SITE_ADMIN, &path).await,
        &["2 cancelled", "status cancelled"],
    );
    has(
        &shown(&parlor, PLATFORM_ADMIN, BATCHES).await,
        &["status cancelled"],
    );
}

#[tokio::test]
async fn the_prewarm_page_counts_missing_results_before_it_queues_them() {
    const PREWARM: &str = "/console/prewarm";
    let parlor = Parlor::with_business(Setup::default()).await;
    let html = shown(&parlor, SITE_ADMIN, PREWARM).await;
    has(
        &html,
        &[
            "Next run",
            "last 6 months",
            "Generate missing results now (40)",
        ],
    );
    assert_eq!(html.matches("status missing").count(), 40);
    let queued = "select count(*) from biz.ai_trigger_jobs";
    let (status, _, html) = submit(&parlor, SITE_ADMIN, PREWARM, &[("do", "dry-run")]).await;
    assert_eq!((status.as_u16(), count(&parlor, queued).await), (200, 0));
    has(&html, &["Would be queued: 40"]);

    let stale = [("do", "run"), ("expected", "39")];
    let html = refused(&parlor, SITE_ADMIN, PREWARM, &stale, 409).await;
    has(
        &html,
        &["The page showed 39. Now it would be 40.", "value=\"40\""],
    );
    let stale = json!({ "expected": 41 });
    let answer = parlor
        .post(SITE_ADMIN, &format!("{API}/prewarm"), &stale)
        .await;
    assert_eq!(answer.refused_at(API, 409, "conflict")["matching"], 40);
    assert_eq!(count(&parlor, queued).await, 0);
    let run = [("do", "run"), ("expected", "40")];
    refused(&parlor, VIEWER, PREWARM, &run, 403).await;
    refused(&parlor, PLATFORM_ADMIN, PREWARM, &run, 422).await;
    refused(&parlor, SITE_ADMIN, PREWARM, &[], 422).await;
    changed(&parlor, SITE_ADMIN, PREWARM, &run).await;
    assert_eq!(count(&parlor, queued).await, 40);
    let html = shown(&parlor, SITE_ADMIN, PREWARM).await;
    assert_eq!(html.matches("status generating").count(), 40);
    assert!(!html.contains("Generate missing results"));
}

#[tokio::test]
async fn results_are_compared_with_the_previous_one_and_invalidated_with_their_number() {
    let parlor = Parlor::start().await;
    for (site, advice, status) in [
        (1, "ring", "expired"),
        (2, "other site", "expired"),
        (1, "write", "valid"),
    ] {
        sqlx::query(
            "insert into biz.ai_cache (site_id, cache_type, target_id, member_id, status, triggered_by, business_date, valid_days, result_json, expires_at)
             values ($1, 'app3_clue', 'member:10001', 10001, $2, 'event', current_date, 7, $3, now() + interval '1 day')",
        )
        .bind(site)
        .bind(status)
        .bind(json!({ "advice": advice, "steps": ["first", "second"] }))
        .execute(&parlor.db)
        .await
        .unwrap();
    }
    let history = "/console/results?app_type=app3_clue&target_id=member%3A10001";
    let html = shown(&parlor, SITE_ADMIN, history).await;
    has(
        &html,
        &[
            "<pre>advice: write\nsteps:\n  – first",
            "<del>-   &#34;advice&#34;: &#34;ring&#34;,</del>",
            "<ins>+   &#34;advice&#34;: &#34;write&#34;,</ins>",
        ],
    );
    let oldest = count(
        &parlor,
        "select min(id) from biz.ai_cache where site_id = 1",
    )
    .await;
    let html = shown(&parlor, SITE_ADMIN, &format!("{history}&entry={oldest}")).await;
    has(&html, &["advice: ring"]);
    assert!(!html.contains("<del>"), "the oldest has no previous result");
    let html = shown(&parlor, PLATFORM_ADMIN, history).await;
    assert!(!html.contains("<del>-   &#34;advice&#34;: &#34;other site"));
    let html = shown(&parlor, VIEWER, history).await;
    assert!(!html.contains("advice") && html.contains("member:10001"));

    staff_read_and_rate_an_insight(&parlor).await;
    runs_are_compared(&parlor).await;

    let html = shown(&parlor, SITE_ADMIN, &format!("{RESULTS}?member_id=10001")).await;
    has(&html, &["results about member 10001: 1", "of the site: 1"]);
    let member = [("member_id", "10001")];
    refused(&parlor, VIEWER, RESULTS, &member, 403).await;
    refused(&parlor, PLATFORM_ADMIN, RESULTS, &member, 422).await;
    refused(&parlor, SITE_ADMIN, RESULTS, &[], 422).await;
    let of_member = format!("{RESULTS}?member_id=10001");
    let stale = [("member_id", "10001"), ("expected", "2")];
    let html = refused(&parlor, SITE_ADMIN, &of_member, &stale, 409).await;
    has(
        &html,
        &[
            "The page showed 2. Now it would be 1.",
            "results about member 10001: 1",
        ],
    );
    let stale = json!({ "member_id": MEMBER, "expected": 0 });
    let answer = parlor
        .post(SITE_ADMIN, &format!("{API}/cache/invalidate"), &stale)
        .await;
    assert_eq!(answer.refused_at(API, 409, "conflict")["matching"], 1);
    let member = [("member_id", "10001"), ("expected", "1")];
    let location = changed(&parlor, SITE_ADMIN, RESULTS, &member).await;
    has(&location, &["results?status=invalidated"]);
    let invalidated = "select count(*) from biz.ai_cache where status = 'invalidated'";
    assert_eq!(count(&parlor, invalidated).await, 1);
    has(
        &shown(&parlor, SITE_ADMIN, RESULTS).await,
        &["no valid results to invalidate"],
    );
}

/// The pages of two runs that made the results above.
async fn runs_are_compared(parlor: &Parlor) {
    let runs: Vec<i64> = sqlx::query_scalar(
        "with runs as (
             insert into biz.ai_run_logs (site_id, app_type, status, alert_status, trigger_type, error_code, local_day)
             select 1, 'app3_clue', 'failed', 'pending', 'event', 'bad_answer', current_date from generate_series(1, 2) returning id
         ), placed as (
             select id, row_number() over (order by id) as place from runs
         ), changed as (
             update biz.ai_cache c set run_id = p.id from placed p
             where c.site_id = 1 and p.place = (select count(*) from biz.ai_cache o where o.site_id = 1 and o.id <= c.id)
         )
         select id from placed order by place",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let run = format!("/console/runs/{}", runs[1]);
    let html = shown(parlor, SITE_ADMIN, &run).await;
    let previous = format!("../runs/{}\"", runs[0]);
    has(
        &html,
        &[
            &previous,
            "<del>-   &#34;advice&#34;: &#34;ring&#34;,</del>",
            "target_id=member%3A10001",
            "value=\"acknowledge\"",
        ],
    );
    let html = shown(parlor, VIEWER, &run).await;
    has(&html, &[&previous]);
    assert!(!html.contains("advice") && !html.contains("value=\"acknowledge\""));
    let acknowledge = [("do", "acknowledge")];
    refused(parlor, VIEWER, &run, &acknowledge, 403).await;
    refused(parlor, OTHER_SITE_ADMIN, &run, &acknowledge, 404).await;
    refused(parlor, SITE_ADMIN, &run, &[], 422).await;
    changed(parlor, SITE_ADMIN, &run, &acknowledge).await;
    let html = shown(parlor, SITE_ADMIN, &run).await;
    has(&html, &["status acknowledged"]);
    assert!(!html.contains("value=\"acknowledge\""));
}

/// The page behind the card of a reply, with the result of member 10001.
async fn staff_read_and_rate_an_insight(parlor: &Parlor) {
    let insight = "/console/insights?app=app3_clue&target=member:10001";
    let html = shown(parlor, COACH, insight).await;
    has(&html, &["advice: write", "内容由 AI 生成", "Generated 20"]);
    assert!(!html.contains("/results?"), "a coach sees no other pages");
    has(
        &shown(parlor, SITE_ADMIN, insight).await,
        &["./results?app_type=app3_clue&#38;target_id=member%3A10001"],
    );
    let valid = "select id from biz.ai_cache where site_id = 1 and status = 'valid'";
    let id = count(parlor, valid).await.to_string();
    let rating = [("do", "up"), ("id", &*id)];
    let location = changed(parlor, COACH, insight, &rating).await;
    assert_eq!(location, "insights?app=app3_clue&target=member%3A10001");
    let html = shown(parlor, COACH, insight).await;
    has(&html, &["You rated it good", "value=\"down\""]);
    changed(parlor, COACH, insight, &[("do", "remove"), ("id", &*id)]).await;
    assert_eq!(
        count(parlor, "select count(*) from biz.ai_feedback").await,
        0
    );
    // Another site has no valid result, and its users cannot rate this one.
    let html = shown(parlor, OTHER_SITE_ADMIN, insight).await;
    has(&html, &["There is no result to show"]);
    let (status, ..) = submit(parlor, OTHER_SITE_ADMIN, insight, &rating).await;
    assert_eq!(status, 404);
    for (user, path, status) in [
        (COACH, "/console/insights?app=app3_clue", 422),
        (
            COACH,
            "/console/insights?app=app3_clue&target=member:x",
            422,
        ),
        (
            COACH,
            "/console/insights?app=app2_finance&target=this_month:all",
            403,
        ),
        (PLATFORM_ADMIN, insight, 403),
    ] {
        assert_eq!(page(parlor, user, path).await.0, status, "{user} {path}");
    }
}
