//! The change of a run to its fallback application.

use super::Run;
use crate::{
    dashscope,
    governance::apps::{App, Application},
    platform::{
        db::{Db, StatementTimeout},
        metrics,
    },
};

/// Makes `application` the fallback, if it has one and `err` says that it throttles. The run then
/// belongs to the fallback: its id in the log, and its circuit. Returns true if the caller must
/// call it.
pub(crate) async fn fall_back(
    db: &Db,
    site_id: i64,
    run: Run,
    app: App,
    application: &mut Application,
    err: &dashscope::Error,
) -> bool {
    if !err.is_throttled() {
        return false;
    }
    let Some(fallback) = application.fallback_app_id.take() else {
        return false;
    };
    let moved = sqlx::query!(
        r#"select applied as "applied!", circuit from fall_back($1, $2, $3, $4, $5)"#,
        site_id,
        run.id,
        run.created_at,
        fallback,
        application.max_per_second,
    )
    .fetch_one(db)
    .with_statement_timeout()
    .await;
    match moved {
        Ok(moved) => {
            metrics::circuit(app.name(), moved.circuit.as_deref());
            if moved.applied {
                tracing::info!(run_id = run.id, app = app.name(), "the fallback is called");
                application.app_id = fallback;
                application.is_fallback = true;
            }
            moved.applied
        }
        Err(err) => {
            tracing::warn!(run_id = run.id, cause = %err, "the fallback could not be called");
            false
        }
    }
}
