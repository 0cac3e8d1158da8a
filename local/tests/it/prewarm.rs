//! Prewarming: missing finance results are queued once.

use common::insights::{
    jobs::{self, Connector, Prewarmed},
    results,
};
use serde_json::json;

use crate::harness::{
    invariants,
    jobs::SITE_ADMIN,
    parlor::{Parlor, Setup},
};

/// The filters of a demo site. Eight periods: all areas together, each of three areas, and the
/// comparison of areas.
const FILTERS: i64 = 8 * (1 + 3) + 8;

async fn parlor() -> Parlor {
    Parlor::with_business(Setup::default()).await
}

async fn prewarm(parlor: &Parlor, site: Option<i64>, dry_run: bool) -> Prewarmed {
    jobs::prewarm(&parlor.tools.db, Connector::Schedule, site, dry_run)
        .await
        .unwrap()
}

async fn count(parlor: &Parlor) -> i64 {
    sqlx::query_scalar("select count(*) from biz.ai_trigger_jobs")
        .fetch_one(&parlor.db)
        .await
        .unwrap()
}

/// The result for one site.
fn found(enqueued: i64, valid: i64, under_way: i64) -> Prewarmed {
    Prewarmed {
        sites: 1,
        enqueued,
        valid,
        under_way,
    }
}

#[tokio::test]
async fn missing_results_are_queued_once_and_again_after_expiry() {
    let parlor = parlor().await;
    assert_eq!(prewarm(&parlor, Some(1), true).await, found(FILTERS, 0, 0));
    assert_eq!(count(&parlor).await, 0);
    assert_eq!(prewarm(&parlor, Some(1), false).await, found(FILTERS, 0, 0));
    for dry_run in [true, false] {
        assert_eq!(
            prewarm(&parlor, Some(1), dry_run).await,
            found(0, 0, FILTERS)
        );
    }
    parlor.work_until_done().await;
    for dry_run in [true, false] {
        assert_eq!(
            prewarm(&parlor, Some(1), dry_run).await,
            found(0, FILTERS, 0)
        );
    }
    assert_eq!(count(&parlor).await, FILTERS);

    results::invalidate(
        &parlor.db,
        1,
        SITE_ADMIN,
        Some(common::governance::apps::App::FinanceArea),
        None,
        None,
    )
    .await
    .unwrap();
    assert_eq!(prewarm(&parlor, Some(1), false).await, found(8, 32, 0));
    parlor.work_until_done().await;
    parlor
        .execute("update biz.sites set runtime_mode = 'sandbox', sandbox_date = site_today(1) - 1 where id = 1")
        .await;
    assert_eq!(prewarm(&parlor, Some(1), false).await, found(FILTERS, 0, 0));
    parlor.work_until_done().await;
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn concurrent_prewarms_queue_each_filter_of_each_active_site_once() {
    let parlor = parlor().await;
    parlor
        .execute("insert into biz.sites (id, name) values (3, '新店'), (4, '停业')")
        .await;
    parlor
        .execute("insert into dws.finance_area_daily (site_id, business_date, area) values (4, site_today(4) - 32, '大厅')")
        .await;
    let (one, two) = tokio::join!(prewarm(&parlor, None, false), prewarm(&parlor, None, false));
    assert_eq!((one.sites, two.sites), (2, 2));
    assert_eq!(one.enqueued + two.enqueued, 2 * FILTERS);
    assert_eq!(count(&parlor).await, 2 * FILTERS);
    parlor.work_until_done().await;
    assert_eq!(
        i64::try_from(parlor.simulator.calls_count()).unwrap(),
        2 * FILTERS
    );
    invariants::check_jobs(&parlor).await;
}

#[tokio::test]
async fn new_facts_whose_worker_died_queue_their_filters_once() {
    let parlor = parlor().await;
    for forced in [false, true] {
        let before = count(&parlor).await;
        let event = json!({ "event_type": "etl.finished", "is_forced": forced });
        let job = parlor.trigger_accepted(&event).await;
        parlor.work_until_done().await;
        assert_eq!(count(&parlor).await, before + 1 + FILTERS);
        // The worker died before it stored the end of the job.
        sqlx::query(
            "update biz.ai_trigger_jobs set status = 'running', lease_until = now() - interval '1 second', finished_at = null
             where id = $1",
        )
        .bind(job)
        .execute(&parlor.db)
        .await
        .unwrap();
        parlor.expire_leases_and_sweep().await;
        parlor.work_until_done().await;
        assert_eq!(parlor.job(job).await["status"], "succeeded");
        assert_eq!(count(&parlor).await, before + 1 + FILTERS);
    }
    assert_eq!(
        i64::try_from(parlor.simulator.calls_count()).unwrap(),
        2 * FILTERS
    );
    invariants::check_jobs(&parlor).await;
}
