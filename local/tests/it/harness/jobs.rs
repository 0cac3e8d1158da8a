//! Helpers for background work: send events, run jobs, read results.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    database::TestDatabase,
    parlor::{Answer, Parlor, Setup},
    patiently, sweep,
};

pub const SITE_ADMIN: i64 = 1004;
pub const OTHER_SITE_ADMIN: i64 = 2004;
pub const PLATFORM_ADMIN: i64 = 9001;

pub const TRIGGER: &str = "/api/admin/ai/trigger-jobs";

impl Parlor {
    /// Starts with the demo's business data, so that the apps have facts to work on.
    pub async fn with_business(setup: Setup) -> Self {
        Self::start_with(Setup {
            database: Some(Arc::new(TestDatabase::with_business().await)),
            ..setup
        })
        .await
    }

    /// Sends an event of site 1.
    pub async fn trigger(&self, event: &Value) -> Answer {
        self.post(SITE_ADMIN, TRIGGER, event).await
    }

    /// Sends an event that is accepted. Returns the job's id.
    pub async fn trigger_accepted(&self, event: &Value) -> i64 {
        let answer = self.trigger(event).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.body["status"], "pending", "{}", answer.body);
        answer.body["id"].as_i64().unwrap()
    }

    /// Sends the event that a member of site 1 paid. Returns the job's id.
    pub async fn member_paid(&self, member: i64, order: i64) -> i64 {
        self.trigger_accepted(&consumption(member, order)).await
    }

    pub async fn job(&self, id: i64) -> Value {
        sqlx::query_scalar("select to_jsonb(j) from biz.ai_trigger_jobs j where id = $1")
            .bind(id)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// All cache entries, oldest first.
    pub async fn entries(&self) -> Vec<Value> {
        sqlx::query_scalar("select to_jsonb(c) from biz.ai_cache c order by id")
            .fetch_all(&self.db)
            .await
            .unwrap()
    }

    /// The runs of a job, oldest first.
    pub async fn runs(&self, job: i64) -> Vec<Value> {
        sqlx::query_scalar(
            "select to_jsonb(r) from biz.ai_run_logs r where job_id = $1 order by created_at, id",
        )
        .bind(job)
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    /// Makes all waiting jobs due now.
    pub async fn make_jobs_due(&self) {
        let update = "update biz.ai_trigger_jobs set run_after = now() where status = 'pending'";
        patiently(async || sqlx::query(update).execute(&self.db).await).await;
    }

    /// Runs jobs until all have ended, including those that are put off. On a busy machine, a
    /// statement may time out: then the worker puts its job off, or leaves it for the sweep.
    pub async fn work_until_done(&self) {
        for _ in 0..20 {
            self.work().await;
            if !self.make_unfinished_jobs_due().await {
                return;
            }
        }
        let errors: Vec<Option<String>> = sqlx::query_scalar(
            "select distinct concat_ws(': ', event_type, error_code, error_message) from biz.ai_trigger_jobs
             where status in ('pending', 'running')",
        )
        .fetch_all(&self.db)
        .await
        .unwrap();
        panic!("jobs are still unfinished after 20 rounds: {errors:?}");
    }

    /// Makes all jobs due that have not ended. Call it only while no worker runs. Returns false if
    /// all have ended.
    pub async fn make_unfinished_jobs_due(&self) -> bool {
        let unfinished: Vec<String> = sqlx::query_scalar(
            "select distinct status::text from biz.ai_trigger_jobs where status in ('pending', 'running')",
        )
        .fetch_all(&self.db)
        .await
        .unwrap();
        if unfinished.iter().any(|status| status == "running") {
            self.expire_leases_and_sweep().await;
        }
        self.make_jobs_due().await;
        !unfinished.is_empty()
    }

    /// Expires all leases, as if every worker and generator had died long ago, and sweeps.
    pub async fn expire_leases_and_sweep(&self) {
        for update in [
            "update biz.ai_trigger_jobs set lease_until = now() - interval '1 second' where status = 'running'",
            "update biz.ai_cache set lease_until = now() - interval '1 second' where status = 'generating'",
        ] {
            patiently(async || sqlx::query(update).execute(&self.db).await).await;
        }
        patiently(async || sweep(&self.db, 90).await).await;
    }

    pub async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.db).await.unwrap();
    }
}

/// The event of a member who paid.
pub fn consumption(member: i64, order: i64) -> Value {
    json!({ "event_type": "consumption.settled", "member_id": member, "payload": { "order_id": order } })
}

/// One column of all rows.
pub fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}
