//! Background jobs that had ended. The others are listed and not run.

use common::governance::apps::App;
use serde_json::{Map, Value, json};

use super::super::{
    Import, Kind, Numbers,
    plain::Plain,
    row::{Issue, Row},
    users::Users,
};
use crate::command::AnyError;

const JOB: Kind = Kind {
    name: "job",
    count: "select count(*) as rows, count(distinct id) as ids,
                   max(case when id::text ~ '^[0-9]{1,18}$' then id::text::bigint end) as highest from ai_trigger_jobs",
    numbers: Some(Numbers {
        table: "biz.ai_trigger_jobs",
        taken: "select id from biz.ai_trigger_jobs where id = any($1)",
    }),
};

/// Events and connectors that Parlor knows, as in the checks of `biz.ai_trigger_jobs`.
const EVENTS: [&str; 8] = [
    "consumption.settled",
    "note.created",
    "task.assigned",
    "etl.finished",
    "prewarm",
    "chat.session_message",
    "batch",
    "insight.refresh",
];
const CONNECTORS: [&str; 8] = [
    "event_bus",
    "admin_api",
    "schedule",
    "command",
    "job",
    "session_api",
    "batch",
    "insights_api",
];

pub(super) async fn import(import: &mut Import) -> Result<(), AnyError> {
    import
        .plain(Plain {
            kind: &JOB,
            select: "select id::text, row_to_json(j)::text from ai_trigger_jobs j where $1::jsonb is not null order by id",
            convert,
            writes: &[include_str!("jobs/insert.sql")],
        })
        .await
}

fn convert(row: &mut Row, users: &Users) -> Result<Map<String, Value>, Issue> {
    let site_id = users.site(row.required_integer("site_id")?)?;
    let status = status(&row.text("status").unwrap_or_default())?;
    let event = row.text("event_type").unwrap_or_default();
    let event = EVENTS
        .into_iter()
        .find(|known| *known == event)
        .ok_or_else(|| Issue::with("unknown event_type", &event))?;
    let known = |word: &str| CONNECTORS.into_iter().find(|known| *known == word);
    let earlier_connector = row.text("connector_type");
    let connector = row.word(
        "connector_type",
        known,
        "event_bus",
        "unknown connector_type: stored as event_bus, the word is kept in parlor_import.ids",
    );
    let chain = chain(row)?;
    let created_at = row.required_time("created_at")?;
    let started_at = row.time("started_at");
    let finished_at = row.time("finished_at").or(started_at).unwrap_or(created_at);
    let payload = row.json("payload").unwrap_or_else(|| json!({}));
    let payload = if payload.is_object() {
        payload
    } else {
        row.change("payload is not an object: stored as its member payload");
        json!({ "payload": payload })
    };
    let step = if status == "succeeded" {
        chain.len()
    } else {
        0
    };
    let values = json!({
        "site_id": site_id,
        "event_type": event,
        "connector_type": connector,
        "kept": earlier_connector.filter(|word| word != connector).map(|word| json!({ "connector_type": word })),
        "trigger_type": trigger(event, connector),
        "member_id": row.integer("member_id"),
        "payload": payload,
        "app_chain": chain,
        "step": step,
        "is_forced": row.flag("is_forced"),
        "status": status,
        "error_message": row.text("error_message"),
        "created_at": created_at,
        "started_at": started_at,
        "finished_at": finished_at,
    });
    Ok(values.as_object().cloned().unwrap_or_default())
}

fn status(word: &str) -> Result<&'static str, Issue> {
    Ok(match word {
        "success" | "succeeded" | "completed" | "done" => "succeeded",
        "failed" | "error" | "timeout" => "failed",
        "skipped" | "skipped_duplicate" | "duplicate" => "skipped_duplicate",
        "cancelled" | "canceled" => "cancelled",
        "pending" | "queued" | "running" | "processing" => {
            return Err(Issue::with(
                "it had not ended: post its event again if it is still needed",
                word,
            ));
        }
        _ => return Err(Issue::with("unknown status", word)),
    })
}

fn trigger(event: &str, connector: &str) -> &'static str {
    match (event, connector) {
        ("prewarm", _) => "prewarm",
        ("batch", _) => "batch",
        ("chat.session_message", _) => "session",
        (_, "admin_api" | "command" | "insights_api") => "manual",
        _ => "event",
    }
}

/// The chain was a JSON array, an array of PostgreSQL, or text with separators.
fn chain(row: &Row) -> Result<Vec<&'static str>, Issue> {
    let Some(text) = row.text("app_chain") else {
        return Ok(Vec::new());
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split(|c| !is_part(c)).filter(|name| !name.is_empty());
    let apps = names.map(|name| {
        let app = App::parse(name).map(App::name);
        app.ok_or_else(|| Issue::with("unknown app in app_chain", name))
    });
    apps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_read_in_each_form() {
        let forms = [
            r#"{"app_chain": ["app3_clue", "app8_clue_consolidated"]}"#,
            r#"{"app_chain": "[\"app3_clue\", \"app8_clue_consolidated\"]"}"#,
            r#"{"app_chain": "{app3_clue,app8_clue_consolidated}"}"#,
            r#"{"app_chain": "app3_clue -> app8_clue_consolidated"}"#,
        ];
        for form in forms {
            let chain = chain(&Row::parse(form).unwrap()).unwrap();
            assert_eq!(chain, ["app3_clue", "app8_clue_consolidated"], "{form}");
        }
        let unknown = Row::parse(r#"{"app_chain": "app9"}"#).unwrap();
        assert_eq!(chain(&unknown).unwrap_err().word.unwrap(), "app9");
        assert!(chain(&Row::default()).unwrap().is_empty());
    }
}
