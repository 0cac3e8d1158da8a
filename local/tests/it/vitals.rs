//! Gauges for alarms, computed from the stored data.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use common::{governance::gauges, platform::metrics::Gauges};
use sqlx::AssertSqlSafe;

use crate::harness::parlor::Parlor;

async fn run(parlor: &Parlor, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&parlor.db)
        .await
        .unwrap();
}

async fn read(parlor: &Parlor) -> Gauges {
    gauges::read(&parlor.db).await.unwrap()
}

#[tokio::test]
async fn queue_age_is_the_age_of_the_oldest_due_unclaimed_job() {
    let parlor = Parlor::start().await;
    assert_eq!(
        read(&parlor).await,
        Gauges {
            queue_age: 0.0,
            circuits_open: 0,
            budget_used: 0.0,
            site_id: None
        }
    );
    let queue = async |site: i64, urgency: i32, seconds: i32, status: &str| {
        let lease = if status == "running" { "now()" } else { "null" };
        let statement = format!(
            "insert into biz.ai_trigger_jobs (site_id, event_type, connector_type, trigger_type, app_chain, urgency, run_after, status, lease_until)
             values ({site}, 'batch', 'batch', 'batch', '{{app3_clue}}', {urgency}, now() - interval '{seconds} seconds', '{status}', {lease})"
        );
        run(&parlor, &statement).await;
        read(&parlor).await.queue_age
    };
    // Jobs that are not due, are running or have ended do not count.
    assert!(queue(1, 0, -600, "pending").await.abs() < f64::EPSILON);
    assert!(queue(1, 0, 5_000, "running").await.abs() < f64::EPSILON);
    assert!(queue(1, 0, 6_000, "succeeded").await.abs() < f64::EPSILON);
    // The oldest job of all sites and kinds, in any order of insertion.
    for (site, urgency, seconds, oldest) in [
        (2, 1, 100, 100.0),
        (1, 0, 50, 100.0),
        (1, -1, 1_000, 1_000.0),
        (2, 0, 2_000, 2_000.0),
        (2, -1, 3_000, 3_000.0),
        (1, 1, 4_000, 4_000.0),
        (1, 7, 4_500, 4_500.0),
    ] {
        let age = queue(site, urgency, seconds, "pending").await;
        assert!((oldest..oldest + 60.0).contains(&age), "{age}");
    }
}

#[tokio::test]
async fn half_open_circuits_count_as_open() {
    let parlor = Parlor::start().await;
    run(
        &parlor,
        "insert into biz.ai_circuits (app_id, app_type, state, retry_at) values
         ('a1', 'app1_chat', 'open', now()), ('a3', 'app3_clue', 'half_open', now()), ('a4', 'app4_analysis', 'closed', null)",
    )
    .await;
    assert_eq!(read(&parlor).await.circuits_open, 2);
}

#[tokio::test]
async fn the_fullest_budget_is_daily_or_monthly_of_a_site_active_today() {
    let parlor = Parlor::start().await;
    let fullest = async || {
        let vitals = read(&parlor).await;
        (vitals.budget_used.round(), vitals.site_id)
    };
    // The defaults are 100,000 a day and 2,000,000 a month.
    run(
        &parlor,
        "insert into biz.ai_usage_daily (site_id, day, app_type, tokens, reserved_tokens)
         select id, local_day(timezone), 'app1_chat', 10000 * id, 1000 from biz.sites where id in (1, 2);
         insert into biz.ai_usage_daily (site_id, day, app_type, tokens)
         select id, local_day(timezone), 'app3_clue', 4000 from biz.sites where id = 1",
    )
    .await;
    parlor.sum_up_usage_days().await;
    assert_eq!(fullest().await, (21.0, Some(2)));
    run(
        &parlor,
        "insert into biz.ai_budgets (site_id, daily_limit, monthly_limit) values (1, 1000000, 20000)",
    )
    .await;
    assert_eq!(fullest().await, (75.0, Some(1)));
    // The usage of this month before today is summed once a day and stored.
    assert_eq!(gauges::sum_up(&parlor.db).await.unwrap(), 2);
    assert_eq!(gauges::sum_up(&parlor.db).await.unwrap(), 0);
    run(
        &parlor,
        "update biz.ai_usage_before set tokens = 1000 where site_id = 1",
    )
    .await;
    assert_eq!(fullest().await, (80.0, Some(1)));
    // A site with a limit of 0 is excluded. Otherwise its alarm would never end.
    run(
        &parlor,
        "update biz.ai_budgets set daily_limit = 0, monthly_limit = 0 where site_id = 1",
    )
    .await;
    assert_eq!(fullest().await, (21.0, Some(2)));
    // Last month does not count, and neither does a site without usage today.
    run(
        &parlor,
        "insert into biz.ai_usage_daily (site_id, day, app_type, tokens)
         select id, date_trunc('month', local_day(timezone))::date - 1, 'app3_clue', 9000000 from biz.sites where id = 2",
    )
    .await;
    parlor.sum_up_usage_days().await;
    assert_eq!(fullest().await, (21.0, Some(2)));
    run(
        &parlor,
        "delete from biz.ai_usage_days u using biz.sites s where s.id = u.site_id and u.day = local_day(s.timezone)",
    )
    .await;
    assert_eq!(fullest().await, (0.0, None));
}
