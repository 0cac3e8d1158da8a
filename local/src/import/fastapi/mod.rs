//! The tables of the FastAPI service: chats of the mini-program, run log, results and jobs.

mod chats;
mod jobs;
mod results;
mod runs;

use super::{Import, source::Table};
use crate::command::AnyError;

const INTEGER: &str = "bigint";
const SMALL: &str = "integer";
const TEXT: &str = "text";
const TIME: &str = "timestamp with time zone";

pub(super) const TABLES: &[Table] = &[
    Table {
        name: "ai_conversations",
        required: &[
            ("id", INTEGER),
            ("user_id", INTEGER),
            ("site_id", INTEGER),
            ("context_type", TEXT),
            ("context_id", TEXT),
            ("session_id", TEXT),
            ("created_at", TIME),
        ],
        optional: &[
            ("title", TEXT),
            ("last_message", TEXT),
            ("last_message_at", TIME),
            ("message_count", SMALL),
            ("unread_count", SMALL),
        ],
    },
    Table {
        name: "ai_messages",
        required: &[
            ("id", INTEGER),
            ("conversation_id", INTEGER),
            ("role", TEXT),
            ("content", TEXT),
            ("created_at", TIME),
        ],
        optional: &[("tokens_used", SMALL), ("reference_card", "jsonb")],
    },
    Table {
        name: "ai_run_logs",
        required: &[
            ("id", INTEGER),
            ("app_type", TEXT),
            ("status", TEXT),
            ("site_id", INTEGER),
            ("session_id", TEXT),
            ("response_text", TEXT),
            ("tokens_used", SMALL),
            ("created_at", TIME),
        ],
        optional: &[
            ("trigger_type", TEXT),
            ("member_id", INTEGER),
            ("request_prompt", TEXT),
            ("latency_ms", SMALL),
            ("error_message", TEXT),
            ("alert_status", TEXT),
            ("finished_at", TIME),
        ],
    },
    Table {
        name: "ai_cache",
        required: &[
            ("id", INTEGER),
            ("cache_type", TEXT),
            ("site_id", INTEGER),
            ("target_id", TEXT),
            ("result_json", "jsonb"),
            ("status", TEXT),
            ("created_at", TIME),
        ],
        optional: &[
            ("score", SMALL),
            ("triggered_by", TEXT),
            ("expires_at", TIME),
        ],
    },
    Table {
        name: "ai_trigger_jobs",
        required: &[
            ("id", INTEGER),
            ("event_type", TEXT),
            ("status", TEXT),
            ("site_id", INTEGER),
            ("created_at", TIME),
        ],
        optional: &[
            ("member_id", INTEGER),
            ("app_chain", TEXT),
            ("is_forced", "boolean"),
            ("started_at", TIME),
            ("finished_at", TIME),
            ("payload", "jsonb"),
            ("error_message", TEXT),
            ("connector_type", TEXT),
        ],
    },
];

/// Runs come after the conversations, because those of chats get their user from them.
pub(super) async fn import(import: &mut Import) -> Result<(), AnyError> {
    import.chats(&chats::FastApi).await?;
    runs::import(import).await?;
    results::import(import).await?;
    jobs::import(import).await
}
