//! Verbs of background work: an event is sent, jobs are worked on, results are looked at.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use super::sweep;
use serde_json::{Value, json};

use super::parlor::{Answer, Parlor, Setup};

/// The site admins and the platform's.
pub const SITE_ADMIN: i64 = 1004;
pub const OTHER_SITE_ADMIN: i64 = 2004;
pub const PLATFORM_ADMIN: i64 = 9001;

/// Where events come in.
pub const TRIGGER: &str = "/api/admin/ai/trigger-jobs";

impl Parlor {
    /// With the demo's business, so that there is something to say.
    pub async fn with_business(setup: Setup) -> Self {
        let parlor = Self::start_with(setup).await;
        local::demo::load_business(&parlor.db).await.unwrap();
        parlor
    }

    /// Sends an event of site 1.
    pub async fn trigger(&self, event: &Value) -> Answer {
        self.post(SITE_ADMIN, TRIGGER, event).await
    }

    /// Sends one that is accepted, and answers its job's id.
    pub async fn triggered(&self, event: &Value) -> i64 {
        let answer = self.trigger(event).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(answer.body["status"], "pending", "{}", answer.body);
        answer.body["id"].as_i64().unwrap()
    }

    /// A member of site 1 paid.
    pub async fn settled_by(&self, member: i64, order: i64) -> i64 {
        self.triggered(&consumption(member, order)).await
    }

    pub async fn job(&self, id: i64) -> Value {
        sqlx::query_scalar("select to_jsonb(j) from biz.ai_trigger_jobs j where id = $1")
            .bind(id)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// Everything in the cache, oldest first.
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

    /// As if the time had come at which waiting jobs go on.
    pub async fn later(&self) {
        sqlx::query("update biz.ai_trigger_jobs set run_after = now() where status = 'pending'")
            .execute(&self.db)
            .await
            .unwrap();
    }

    /// Runs what is due, and what it puts off: a machine that is busy does not always reach its database in time.
    pub async fn work_off(&self) {
        for _ in 0..20 {
            self.work().await;
            let pending: bool = sqlx::query_scalar(
                "select exists (select from biz.ai_trigger_jobs where status = 'pending')",
            )
            .fetch_one(&self.db)
            .await
            .unwrap();
            if !pending {
                return;
            }
            self.later().await;
        }
        panic!("there is no end of jobs");
    }

    /// As if every worker and generator had been dead for long, and the sweep had come.
    pub async fn buried(&self) {
        for update in [
            "update biz.ai_trigger_jobs set lease_until = now() - interval '1 second' where status = 'running'",
            "update biz.ai_cache set lease_until = now() - interval '1 second' where status = 'generating'",
        ] {
            sqlx::query(update).execute(&self.db).await.unwrap();
        }
        sweep(&self.db, 90).await.unwrap();
    }

    /// Runs a statement that a test needs.
    pub async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.db).await.unwrap();
    }
}

/// The event of a member who paid.
pub fn consumption(member: i64, order: i64) -> Value {
    json!({ "event_type": "consumption.settled", "member_id": member, "payload": { "order_id": order } })
}

/// A column of each row.
pub fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}
