//! The run log, and the usage counters of its runs.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use common::{
    governance::{apps::App, runs::Trigger},
    platform::clock,
};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::super::{
    Import, Kind, Numbers,
    plain::Plain,
    row::{Issue, Row},
    users::Users,
};
use crate::command::AnyError;

const RUN: Kind = Kind {
    name: "run",
    count: "select count(*) as rows, count(distinct id) as ids,
                   max(case when id::text ~ '^[0-9]{1,18}$' then id::text::bigint end) as highest from ai_run_logs",
    numbers: Some(Numbers {
        table: "biz.ai_run_logs",
        taken: "select id from biz.ai_run_logs where id = any($1)",
    }),
};

/// How often the creation of partitions is tried. Another transaction can hold a lock.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn import(import: &mut Import) -> Result<(), AnyError> {
    let days = import.retention.run_log_days;
    let oldest = clock::now() - TimeDelta::days(days.into());
    if !import.target.dry_run {
        make_partitions(import, oldest).await?;
    }
    import
        .plain(Plain {
            kind: &RUN,
            select: include_str!("runs.sql"),
            convert: |row: &mut Row, users: &Users| convert(row, users, oldest),
            writes: &[
                include_str!("runs/insert.sql"),
                include_str!("runs/count_days.sql"),
                include_str!("runs/count_apps.sql"),
                include_str!("runs/count_details.sql"),
                include_str!("runs/sum_up.sql"),
            ],
        })
        .await
}

/// Creates the partitions of the months that have runs. Runs of a month without a partition would
/// never be deleted.
async fn make_partitions(import: &mut Import, oldest: DateTime<Utc>) -> Result<(), AnyError> {
    let first: Option<DateTime<Utc>> = sqlx::query_scalar(
        "select min(created_at::timestamptz) from ai_run_logs
         where isfinite(created_at::timestamptz) and created_at::timestamptz >= $1",
    )
    .bind(oldest)
    .fetch_one(&mut import.source.connection)
    .await?;
    let Some(first) = first else {
        return Ok(());
    };
    let month = |time: DateTime<Utc>| time.year() * 12 + i32::try_from(time.month0()).unwrap_or(0);
    let months_back = (month(clock::now()) - month(first)).max(0);
    for _ in 0..TRIES {
        let missing: i64 = sqlx::query_scalar(include_str!("runs/missing_partitions.sql"))
            .bind(months_back)
            .fetch_one(&mut import.target.connection)
            .await?;
        if missing == 0 {
            return Ok(());
        }
        sqlx::query("select make_run_log_partitions(0, $1)")
            .bind(months_back)
            .execute(&mut import.target.connection)
            .await?;
        sleep(PAUSE).await;
    }
    Err("the run log is locked by another transaction; try again".into())
}

fn convert(
    row: &mut Row,
    users: &Users,
    oldest: DateTime<Utc>,
) -> Result<Map<String, Value>, Issue> {
    let site_id = users.site(row.required_integer("site_id")?)?;
    let created_at = row.required_time("created_at")?;
    if created_at < oldest {
        return Err("it is older than RUN_LOG_RETENTION_DAYS".into());
    }
    let app = row.text("app_type").unwrap_or_default();
    let app = App::parse(&app).ok_or_else(|| Issue::with("unknown app_type", &app))?;
    let status = status(row)?;
    let is_call = status != "circuit_open";
    let trigger = trigger(row, app);
    let finished_at = row.time("finished_at").filter(|end| *end >= created_at);
    let latency_ms = row.integer("latency_ms").filter(|ms| *ms >= 0);
    let latency_ms = latency_ms.or_else(|| Some((finished_at? - created_at).num_milliseconds()));
    if latency_ms.is_none() && is_call {
        row.change("its latency is not known: 0");
    }
    let latency_ms = latency_ms.unwrap_or(0);
    let tokens = row.integer("tokens_used").filter(|tokens| *tokens >= 0);
    if !is_call && tokens > Some(0) {
        row.change("tokens of a run that made no call: null");
    }
    let tokens = tokens.filter(|_| is_call);
    let values = json!({
        "site_id": site_id,
        "app_type": app.name(),
        "trigger_type": trigger.name(),
        "kept": kept(row, trigger),
        "member_id": row.integer("member_id"),
        "status": status,
        "alert_status": alert_status(row, status),
        "request_prompt": row.text("request_prompt"),
        "response_text": row.text("response_text"),
        "tokens_used": tokens,
        "latency_ms": latency_ms,
        "attempts": i32::from(is_call),
        "refusals": (!is_call).then_some(1),
        "session_id": row.text("session_id"),
        "error_code": error_code(status),
        "error_message": row.text("error_message"),
        "created_at": created_at,
        "finished_at": finished_at.unwrap_or(created_at + TimeDelta::milliseconds(latency_ms.min(86_400_000))),
        "chat_id": row.text("chat_id"),
    });
    Ok(values.as_object().cloned().unwrap_or_default())
}

/// A run that had not ended has failed: nothing ends it.
fn status(row: &mut Row) -> Result<&'static str, Issue> {
    let word = row.text("status").unwrap_or_default();
    let known = ["success", "failed", "timeout", "circuit_open", "stopped"];
    if let Some(status) = known.into_iter().find(|known| *known == word) {
        return Ok(status);
    }
    if ["running", "pending"].contains(&word.as_str()) {
        row.change(Issue::with("it had not ended: stored as failed", word));
        return Ok("failed");
    }
    Err(Issue::with("unknown status", word))
}

fn error_code(status: &str) -> Option<&'static str> {
    match status {
        "failed" => Some("upstream_error"),
        "timeout" => Some("upstream_timeout"),
        "circuit_open" => Some("circuit_open"),
        _ => None,
    }
}

/// Unknown causes are stored as `manual`, without one as `chat` or `event`.
fn trigger(row: &mut Row, app: App) -> Trigger {
    if row.text("trigger_type").is_none() {
        return if app == App::Chat {
            Trigger::Chat
        } else {
            Trigger::Event
        };
    }
    let reason = "unknown trigger_type: stored as manual, the word is kept in parlor_import.ids";
    row.word("trigger_type", Trigger::parse, Trigger::Manual, reason)
}

/// An unknown cause, to be remembered.
fn kept(row: &Row, trigger: Trigger) -> Option<Value> {
    let word = row
        .text("trigger_type")
        .filter(|word| word != trigger.name())?;
    Some(json!({ "trigger_type": word }))
}

/// Null means pending, for a run that failed.
fn alert_status(row: &mut Row, status: &str) -> Option<&'static str> {
    if ["success", "stopped"].contains(&status) {
        return None;
    }
    let known = |word: &str| {
        let words = ["pending", "acknowledged", "ignored"];
        words.into_iter().find(|known| *known == word)
    };
    Some(row.word(
        "alert_status",
        known,
        "pending",
        "unknown alert_status: stored as pending",
    ))
}
