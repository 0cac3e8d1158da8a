//! Results of the apps: expiry, separation by site, maximum number, and which worker generates one.

use crate::harness::sweep;
use chrono::{DateTime, Utc};
use common::{
    governance::apps::App,
    insights::{
        apps::Validity,
        facts::Period,
        results::{self, Entry, Target},
    },
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::harness::{
    invariants,
    jobs::{SITE_ADMIN, consumption},
    parlor::{Parlor, Setup},
};

const MEMBER: i64 = 10_001;

/// A result with this text, accepted for any app.
fn saying(words: &str) -> Value {
    json!({ "words": words })
}

impl Parlor {
    /// Stores a result in two statements, as a job does. Returns its entry.
    async fn make(&self, site: i64, app: App, target: &Target, words: &str) -> i64 {
        let (entry, generation) = self.begin(site, app, target).await;
        assert!(self.finalize(site, entry, generation, words).await);
        entry
    }

    async fn begin(&self, site: i64, app: App, target: &Target) -> (i64, i32) {
        let days = match app.definition().unwrap().validity {
            Validity::Day => 0,
            Validity::Days(days) => days,
        };
        sqlx::query_as(
            "select entry_id, generation from begin_generating($1, $2, $3, $4, $5, 'event', null, 30)",
        )
        .bind(site)
        .bind(app.name())
        .bind(target.id())
        .bind(MEMBER)
        .bind(days)
        .fetch_one(&self.db)
        .await
        .unwrap()
    }

    async fn finalize(&self, site: i64, entry: i64, generation: i32, words: &str) -> bool {
        sqlx::query_scalar("select finalize_generating($1, $2, $3, $4, null, null, null)")
            .bind(site)
            .bind(entry)
            .bind(generation)
            .bind(saying(words))
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    async fn latest(&self, site: i64, app: App, target: &Target) -> Option<(Value, bool)> {
        let entry = results::latest(&self.db, site, app, target).await.unwrap();
        entry.map(|entry| (entry.result["words"].clone(), entry.stale))
    }

    /// Triggers the event and returns the number of calls to DashScope.
    async fn calls_for(&self, event: &Value) -> usize {
        let calls = self.simulator.calls_count();
        self.trigger_accepted(event).await;
        self.work_until_done().await;
        self.simulator.calls_count() - calls
    }
}

fn words(entries: &[Entry]) -> Vec<&Value> {
    entries.iter().map(|entry| &entry.result["words"]).collect()
}

fn shown(words: &str, stale: bool) -> (Value, bool) {
    (words.into(), stale)
}

#[tokio::test]
async fn the_newest_20_000_of_an_app_and_site_are_kept_by_bounded_sweeps() {
    let parlor = Parlor::start().await;
    // All targets differ: the limit applies to each app and site.
    for (site, app, entries) in [
        (1, "app3_clue", 21_500),
        (2, "app3_clue", 20_003),
        (1, "app7_customer_analysis", 20_000),
        (2, "app7_customer_analysis", 5),
    ] {
        let insert = format!(
            "insert into biz.ai_cache (site_id, cache_type, target_id, status, result_json, triggered_by, business_date, valid_days, expires_at)
             select {site}, '{app}', 'member:' || n, case n % 3 when 0 then 'expired' else 'valid' end, '{{}}', 'event',
                    current_date, 7, now() + interval '7 days'
             from generate_series(1, {entries}) n"
        );
        sqlx::query(AssertSqlSafe(insert))
            .execute(&parlor.db)
            .await
            .unwrap();
    }
    let mut removed = Vec::new();
    loop {
        let swept = sweep(&parlor.db, 90).await.unwrap();
        if swept.cache_removed == 0 {
            break;
        }
        removed.push(swept.cache_removed);
    }
    assert_eq!(removed, [1_000, 500, 3]);
    let kept: Vec<(i64, String, i64, i32)> = sqlx::query_as(
        "select site_id, cache_type, count(*), min(split_part(target_id, ':', 2)::integer) from biz.ai_cache group by 1, 2 order by 1, 2",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    let expected = [
        (1, "app3_clue", 20_000, 1_501),
        (1, "app7_customer_analysis", 20_000, 1),
        (2, "app3_clue", 20_000, 4),
        (2, "app7_customer_analysis", 5, 1),
    ];
    assert_eq!(
        kept,
        expected.map(|(site, app, count, oldest)| (site, app.to_owned(), count, oldest))
    );
    let sizes: Vec<i64> =
        sqlx::query_scalar("select entries from biz.ai_cache_sizes order by site_id, cache_type")
            .fetch_all(&parlor.db)
            .await
            .unwrap();
    assert_eq!(sizes, [20_000, 20_000, 20_000, 5]);
}

#[tokio::test]
async fn of_many_concurrent_callers_one_generates() {
    let parlor = Parlor::start().await;
    let target = Target::Member(MEMBER);
    let began: Vec<Option<i64>> = join_all((0..20).map(async |job: i64| {
        sqlx::query_scalar(
            "select entry_id from begin_generating(1, 'app3_clue', $1, null, 7, 'event', $2, 30)",
        )
        .bind(target.id())
        .bind(job)
        .fetch_one(&parlor.db)
        .await
        .unwrap()
    }))
    .await;
    assert_eq!(began.iter().flatten().count(), 1, "{began:?}");
    let entries: i64 = sqlx::query_scalar("select count(*) from biz.ai_cache")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(entries, 1);
}

#[tokio::test]
async fn concurrent_jobs_of_one_member_call_dashscope_once() {
    let parlor = Parlor::with_business(Setup::default()).await;
    for order in 1..=12 {
        parlor.member_paid(MEMBER, order).await;
    }
    loop {
        join_all((0..4).map(|_| parlor.worker.run(None))).await;
        if !parlor.make_unfinished_jobs_due().await {
            break;
        }
    }
    let done: i64 =
        sqlx::query_scalar("select count(*) from biz.ai_trigger_jobs where status = 'succeeded'")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    assert_eq!((done, parlor.simulator.calls_count()), (12, 3));
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn while_a_new_result_is_generated_the_old_one_is_stale() {
    let parlor = Parlor::start().await;
    let (app, target) = (App::Clue, Target::Member(MEMBER));
    assert_eq!(parlor.latest(1, app, &target).await, None);
    let (entry, generation) = parlor.begin(1, app, &target).await;
    assert_eq!(parlor.latest(1, app, &target).await, None);
    assert!(parlor.finalize(1, entry, generation, "first").await);
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("first", false))
    );

    let (entry, generation) = parlor.begin(1, app, &target).await;
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("first", true))
    );
    // The generator died. The sweep releases the target, and the next generator gets it.
    parlor.expire_leases_and_sweep().await;
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("first", false))
    );
    assert!(!parlor.finalize(1, entry, generation, "too late").await);
    parlor.make(1, app, &target, "second").await;
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("second", false))
    );

    // Without a sweep, the next generator takes over an expired lease.
    let dead = parlor.begin(1, app, &target).await;
    parlor
        .execute("update biz.ai_cache set lease_until = now() - interval '1 second' where status = 'generating'")
        .await;
    let (entry, generation) = parlor.begin(1, app, &target).await;
    assert_eq!((entry, generation), (dead.0, dead.1 + 1));
    assert!(!parlor.finalize(1, entry, dead.1, "too late").await);
    assert!(parlor.finalize(1, entry, generation, "third").await);
    assert!(
        !parlor
            .finalize(2, entry, generation, "another site's")
            .await
    );
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("third", false))
    );
}

#[tokio::test]
async fn an_invalidated_result_and_its_predecessors_are_not_shown() {
    let parlor = Parlor::start().await;
    let (app, target) = (App::Clue, Target::Member(MEMBER));
    parlor.make(1, app, &target, "replaced").await;
    parlor.make(1, app, &target, "wrong").await;
    let invalidated =
        results::invalidate(&parlor.db, 1, SITE_ADMIN, None, Some(MEMBER), None).await;
    assert_eq!(invalidated.unwrap(), 1);
    assert_eq!(parlor.latest(1, app, &target).await, None);
    let (entry, generation) = parlor.begin(1, app, &target).await;
    assert_eq!(parlor.latest(1, app, &target).await, None);
    assert!(parlor.finalize(1, entry, generation, "right").await);
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("right", false))
    );
    let history = results::history(&parlor.db, 1, app, &target, 9)
        .await
        .unwrap();
    assert_eq!(words(&history), ["right", "replaced"]);
}

#[tokio::test]
async fn results_of_the_same_target_are_separate_per_site() {
    let parlor = Parlor::start().await;
    let (app, target) = (App::NoteAnalysis, Target::Note(5));
    for (site, words) in [(1, "ours"), (2, "theirs"), (1, "ours again")] {
        parlor.make(site, app, &target, words).await;
    }
    assert_eq!(
        parlor.latest(1, app, &target).await,
        Some(shown("ours again", false))
    );
    assert_eq!(
        parlor.latest(2, app, &target).await,
        Some(shown("theirs", false))
    );
    for (site, expected) in [(1, vec!["ours again", "ours"]), (2, vec!["theirs"])] {
        let history = results::history(&parlor.db, site, app, &target, 9).await;
        assert_eq!(words(&history.unwrap()), expected);
        let about = results::about_member(&parlor.db, site, app, MEMBER, 9).await;
        assert_eq!(words(&about.unwrap()), expected[..1]);
    }
    // Generation for one site does not block the other.
    let (ours, theirs) = (
        parlor.begin(1, app, &target).await,
        parlor.begin(2, app, &target).await,
    );
    assert_ne!(ours.0, theirs.0);
    results::invalidate(&parlor.db, 1, SITE_ADMIN, None, None, None)
        .await
        .unwrap();
    assert!(!parlor.finalize(1, ours.0, ours.1, "too late").await);
    assert!(parlor.finalize(2, theirs.0, theirs.1, "theirs again").await);
    assert_eq!(
        parlor.latest(2, app, &target).await,
        Some(shown("theirs again", false))
    );
}

/// The expiry of a finance result begun at `begun` at a site in this time zone.
async fn finance_expires(parlor: &Parlor, zone: &str, begun: &str) -> DateTime<Utc> {
    sqlx::query("update biz.sites set timezone = $1 where id = 1")
        .bind(zone)
        .execute(&parlor.db)
        .await
        .unwrap();
    let target = Target::Areas(Period::Today);
    let (entry, generation) = parlor.begin(1, App::FinanceArea, &target).await;
    sqlx::query("update biz.ai_cache set created_at = $2::text::timestamptz where id = $1")
        .bind(entry)
        .bind(begun)
        .execute(&parlor.db)
        .await
        .unwrap();
    assert!(parlor.finalize(1, entry, generation, "…").await);
    sqlx::query_scalar("select expires_at from biz.ai_cache where id = $1")
        .bind(entry)
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn finance_results_expire_at_the_end_of_the_sites_local_day() {
    let parlor = Parlor::start().await;
    for (zone, begun, expires) in [
        // Noon, the first and last second of a day, the last day of a month and of a year.
        (
            "Asia/Shanghai",
            "2026-05-10T04:00:00Z",
            "2026-05-10T15:59:59Z",
        ),
        (
            "Asia/Shanghai",
            "2026-05-10T16:00:00Z",
            "2026-05-11T15:59:59Z",
        ),
        (
            "Asia/Shanghai",
            "2026-05-10T15:59:59Z",
            "2026-05-10T15:59:59Z",
        ),
        (
            "Asia/Shanghai",
            "2026-01-31T16:30:00Z",
            "2026-02-01T15:59:59Z",
        ),
        (
            "America/New_York",
            "2026-01-31T16:30:00Z",
            "2026-02-01T04:59:59Z",
        ),
        (
            "America/New_York",
            "2027-01-01T04:59:00Z",
            "2027-01-01T04:59:59Z",
        ),
        (
            "America/New_York",
            "2028-02-29T17:00:00Z",
            "2028-03-01T04:59:59Z",
        ),
        // Days of 23 and of 25 hours.
        (
            "America/New_York",
            "2026-03-08T06:30:00Z",
            "2026-03-09T03:59:59Z",
        ),
        (
            "America/New_York",
            "2026-11-01T04:30:00Z",
            "2026-11-02T04:59:59Z",
        ),
        // Midnight occurs twice on this day. The second one counts.
        (
            "America/Santiago",
            "2026-04-04T12:00:00Z",
            "2026-04-05T03:59:59Z",
        ),
        // Midnight is skipped on this day, so it begins an hour later.
        (
            "America/Santiago",
            "2026-09-05T12:00:00Z",
            "2026-09-06T03:59:59Z",
        ),
        ("Etc/GMT-14", "2026-05-10T10:00:00Z", "2026-05-11T09:59:59Z"),
        (
            "Asia/Kathmandu",
            "2026-05-10T18:15:00Z",
            "2026-05-11T18:14:59Z",
        ),
    ] {
        let found = finance_expires(&parlor, zone, begun).await;
        let expires: DateTime<Utc> = expires.parse().unwrap();
        assert_eq!(found, expires, "{zone}, begun {begun}");
    }
}

#[tokio::test]
async fn every_app_has_its_expiry() {
    let parlor = Parlor::with_business(Setup::default()).await;
    parlor
        .execute("update biz.sites set timezone = 'America/New_York' where id = 1")
        .await;
    let note: i64 =
        sqlx::query_scalar("select min(note_id) from dws.member_note where site_id = 1")
            .fetch_one(&parlor.db)
            .await
            .unwrap();
    let mut visit = consumption(MEMBER, 1);
    visit["payload"]["coach_id"] = json!(1001);
    for event in [
        visit,
        json!({ "event_type": "note.created", "member_id": note / 100, "payload": { "note_id": note } }),
        json!({ "event_type": "etl.finished" }),
    ] {
        parlor.trigger_accepted(&event).await;
        parlor.work_until_done().await;
    }
    let apps: i64 = sqlx::query_scalar("select count(distinct cache_type) from biz.ai_cache")
        .fetch_one(&parlor.db)
        .await
        .unwrap();
    assert_eq!(apps, 8);
    let odd: Vec<Value> = sqlx::query_scalar(
        "select to_jsonb(c) from biz.ai_cache c
         where status <> 'valid' or not coalesce(case
             when cache_type like 'app2%' then expires_at at time zone 'America/New_York'
                 = (created_at at time zone 'America/New_York')::date + time '23:59:59'
             when cache_type = 'app6_note_analysis' then abs(extract(epoch from expires_at - finished_at) - 30 * 86400) < 1
             else abs(extract(epoch from expires_at - finished_at) - 7 * 86400) < 1 end, false)",
    )
    .fetch_all(&parlor.db)
    .await
    .unwrap();
    assert_eq!(odd, [] as [Value; 0]);

    // The sweep marks expired results, and they are no longer shown.
    parlor
        .execute("update biz.ai_cache set expires_at = now() where cache_type like 'app2%'")
        .await;
    let swept = sweep(&parlor.db, 90).await.unwrap();
    assert_eq!(swept.cache_expired, 40);
    let target = Target::Areas(Period::Today);
    let latest = results::latest(&parlor.db, 1, App::FinanceArea, &target).await;
    assert_eq!(latest.unwrap(), None);
}

/// Moves the site's local date by `days`, through its time zone.
async fn in_days(parlor: &Parlor, days: i32) {
    assert!((0..=1).contains(&days));
    let zone = ["Etc/GMT+12", "Etc/GMT-12"][usize::try_from(days).unwrap()];
    sqlx::query("update biz.sites set timezone = $1 where id = 1")
        .bind(zone)
        .execute(&parlor.db)
        .await
        .unwrap();
}

#[tokio::test]
async fn after_midnight_finance_is_generated_again_and_member_results_stay_valid() {
    let parlor = Parlor::with_business(Setup::default()).await;
    in_days(&parlor, 0).await;
    let etl = json!({ "event_type": "etl.finished" });
    let visit = consumption(MEMBER, 1);
    assert_eq!(
        (parlor.calls_for(&etl).await, parlor.calls_for(&visit).await),
        (40, 3)
    );
    assert_eq!(
        parlor.trigger(&etl).await.body["status"],
        "skipped_duplicate"
    );
    in_days(&parlor, 1).await;
    // The same events on another day are new events. The visit needs no new call.
    assert_eq!(
        (parlor.calls_for(&etl).await, parlor.calls_for(&visit).await),
        (40, 0)
    );
    invariants::check_jobs(&parlor).await;
}

/// Sets the sandbox date of the site, `days` after a fixed date. `None` returns to live mode.
async fn pretend(parlor: &Parlor, days: Option<i32>) {
    sqlx::query(
        "update biz.sites set runtime_mode = case when $1::integer is null then 'live' else 'sandbox' end,
             sandbox_date = local_day(timezone) - 40 + coalesce($1, 0) where id = 1",
    )
    .bind(days)
    .execute(&parlor.db)
    .await
    .unwrap();
}

#[tokio::test]
async fn results_belong_to_the_sandbox_date_of_the_site() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let (etl, visit) = (
        json!({ "event_type": "etl.finished", "is_forced": false }),
        consumption(MEMBER, 1),
    );
    let target = Target::Areas(Period::Today);
    let shown_id = async || {
        let latest = results::latest(&parlor.db, 1, App::FinanceArea, &target).await;
        latest.unwrap().map(|entry| entry.id)
    };
    pretend(&parlor, Some(0)).await;
    assert_eq!(
        (parlor.calls_for(&etl).await, parlor.calls_for(&visit).await),
        (40, 3)
    );
    let first = shown_id().await;
    assert!(first.is_some());

    // One day later, finance has expired. Member results are valid for a week of sandbox dates.
    pretend(&parlor, Some(1)).await;
    assert_eq!(shown_id().await, None);
    // One day back, the result is valid again, because nothing has replaced it.
    pretend(&parlor, Some(0)).await;
    assert_eq!(shown_id().await, first);
    pretend(&parlor, Some(7)).await;
    assert_eq!(
        (parlor.calls_for(&etl).await, parlor.calls_for(&visit).await),
        (40, 0)
    );
    pretend(&parlor, Some(8)).await;
    assert_eq!(parlor.calls_for(&visit).await, 3);
    // Back one day: results of later dates are not visible. The events of this date are duplicates.
    pretend(&parlor, Some(7)).await;
    assert_eq!(
        parlor.trigger(&visit).await.body["status"],
        "skipped_duplicate"
    );
    let other = consumption(MEMBER, 2);
    assert_eq!(parlor.calls_for(&other).await, 3);
    // In live mode, all results of sandbox dates have expired.
    pretend(&parlor, None).await;
    assert_eq!(shown_id().await, None);
    assert_eq!(
        (parlor.calls_for(&etl).await, parlor.calls_for(&visit).await),
        (40, 3)
    );
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn a_chain_that_waited_over_a_date_change_regenerates_its_inputs() {
    for forced in [false, true] {
        waits_while_the_date_changes(forced).await;
    }
}

async fn waits_while_the_date_changes(forced: bool) {
    let parlor = Parlor::with_business(Setup::default()).await;
    pretend(&parlor, Some(0)).await;
    let task: i64 = sqlx::query_scalar(
        "select min(task_id) from dws.coach_task
         where site_id = 1 and member_id is not null and assigned_on <= site_today(1) - 10",
    )
    .fetch_one(&parlor.db)
    .await
    .unwrap();
    parlor
        .simulator
        .set_scenario(Some("app5_tactics"), Some("unavailable".parse().unwrap()));
    let event = json!({ "event_type": "task.assigned", "payload": { "task_id": task }, "is_forced": forced });
    let job = parlor.trigger_accepted(&event).await;
    parlor.work().await;
    assert_eq!(parlor.job(job).await["step"], 1);
    // The result of app4 now has a later date than the site, and app5 depends on it.
    pretend(&parlor, Some(-1)).await;
    parlor.simulator.set_scenario(Some("app5_tactics"), None);
    parlor.make_jobs_due().await;
    parlor.work().await;
    assert_eq!(parlor.job(job).await["status"], "succeeded");
}

#[tokio::test]
async fn a_job_without_budget_waits_for_the_next_day_or_month_of_its_site() {
    let parlor = Parlor::with_business(Setup::default()).await;
    let mut order = 0;
    for zone in [
        "Asia/Shanghai",
        "America/New_York",
        "Etc/GMT-14",
        "Etc/GMT+12",
    ] {
        for (daily, monthly, next) in [
            (1, 1_000_000, "(day + 1)::timestamp"),
            (
                1_000_000,
                1,
                "date_trunc('month', day::timestamp) + interval '1 month'",
            ),
            (
                1,
                1,
                "date_trunc('month', day::timestamp) + interval '1 month'",
            ),
        ] {
            for set in [
                format!("update biz.sites set timezone = '{zone}' where id = 1"),
                format!(
                    "update biz.ai_budgets set daily_limit = {daily}, monthly_limit = {monthly} where site_id = 1"
                ),
            ] {
                sqlx::query(AssertSqlSafe(set))
                    .execute(&parlor.db)
                    .await
                    .unwrap();
            }
            order += 1;
            let job = parlor.member_paid(MEMBER, order).await;
            parlor.work().await;
            let query = format!(
                "select (run_after at time zone '{zone}')::text, ({next})::text
                 from biz.ai_trigger_jobs cross join lateral (
                     select local_day from biz.ai_run_logs r where r.job_id = ai_trigger_jobs.id) run (day) where id = $1"
            );
            let (due, next): (String, String) = sqlx::query_as(AssertSqlSafe(query))
                .bind(job)
                .fetch_one(&parlor.db)
                .await
                .unwrap();
            assert_eq!(due, next, "{zone} {daily} {monthly}");
        }
    }
    assert_eq!(parlor.simulator.calls_count(), 0);
}
