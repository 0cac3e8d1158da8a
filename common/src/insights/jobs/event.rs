//! Business events from the event bus and the admin API.

use serde_json::{Map, Value};

use super::chain::id;
use crate::insights::contains_nul;
use crate::platform::{
    error::{Error, Reason, Result},
    words::words,
};

/// Size limit of a payload, in bytes of JSON.
const MAX_PAYLOAD: usize = 16 * 1024;
/// Length limit of an order id, in characters.
const MAX_ORDER_ID: usize = 64;

/// The fields of a payload that a chain may need, and their names in errors. All are positive
/// integers; `order_id` may also be text.
const FIELDS: [(&str, &str); 4] = [
    ("order_id", "payload.order_id"),
    ("note_id", "payload.note_id"),
    ("task_id", "payload.task_id"),
    ("coach_id", "payload.coach_id"),
];

words! {
    /// Events that start a chain, as in the column `event_type` and the `detail-type` of
    /// EventBridge.
    pub enum EventType {
        /// A member paid.
        ConsumptionSettled = "consumption.settled",
        /// A note about a member was written.
        NoteCreated = "note.created",
        /// A coach got a task.
        TaskAssigned = "task.assigned",
        /// New facts of a site were loaded.
        EtlFinished = "etl.finished",
        /// Finance results are generated before users need them.
        Prewarm = "prewarm",
        /// A user sent a message to a bot.
        SessionMessage = "chat.session_message",
        /// A batch of an admin needs results for many members.
        Batch = "batch",
        /// A user requested missing insights.
        InsightRefresh = "insight.refresh",
    }
}

impl EventType {
    /// True if events of this type may come from outside of Parlor.
    const fn is_business(self) -> bool {
        !matches!(
            self,
            Self::Prewarm | Self::SessionMessage | Self::Batch | Self::InsightRefresh
        )
    }
}

/// A checked event.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub(super) kind: EventType,
    pub(super) site_id: i64,
    pub(super) member_id: Option<i64>,
    pub(super) payload: Value,
    pub(super) is_forced: bool,
}

impl NewEvent {
    /// Checks that the type may come from outside and that the event has all fields that its chain
    /// needs.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field.
    pub fn parse(
        event_type: &str,
        site_id: i64,
        member_id: Option<i64>,
        payload: Map<String, Value>,
        is_forced: bool,
    ) -> Result<Self> {
        let kind = EventType::parse(event_type)
            .filter(|kind| kind.is_business())
            .ok_or(Error::invalid("event_type", Reason::Unknown))?;
        if member_id.is_some_and(|id| id < 1) {
            return Err(Error::invalid("member_id", Reason::Type));
        }
        let payload = Value::Object(payload);
        if payload.to_string().len() > MAX_PAYLOAD {
            return Err(Error::invalid("payload", Reason::TooLarge(MAX_PAYLOAD)));
        }
        if contains_nul(&payload) {
            return Err(Error::invalid("payload", Reason::Nul));
        }
        for (name, field) in FIELDS {
            let is_valid = match &payload[name] {
                Value::Null => true,
                Value::String(text) if name == "order_id" => {
                    (1..=MAX_ORDER_ID).contains(&text.chars().count())
                }
                _ => id(&payload, name).is_some(),
            };
            if !is_valid {
                return Err(Error::invalid(field, Reason::Type));
            }
        }
        let missing = match kind {
            EventType::ConsumptionSettled | EventType::NoteCreated if member_id.is_none() => {
                Some("member_id")
            }
            EventType::NoteCreated if payload["note_id"].is_null() => Some("payload.note_id"),
            EventType::TaskAssigned if payload["task_id"].is_null() => Some("payload.task_id"),
            _ => None,
        };
        match missing {
            Some(field) => Err(Error::invalid(field, Reason::Missing)),
            None => Ok(Self {
                kind,
                site_id,
                member_id,
                payload,
                is_forced,
            }),
        }
    }

    /// Distinguishes events of the same type and member on one day: order, note or task.
    pub(super) fn subject(&self) -> String {
        FIELDS[..3]
            .iter()
            .find_map(|(name, _)| match &self.payload[name] {
                Value::Null => None,
                Value::String(text) => Some(format!("{name}:{text}")),
                number => Some(format!("{name}:{number}")),
            })
            .unwrap_or_else(|| "-".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(event_type: &str, member_id: Option<i64>, payload: Value) -> Result<NewEvent> {
        let Value::Object(payload) = payload else {
            panic!("a payload is an object")
        };
        NewEvent::parse(event_type, 1, member_id, payload, false)
    }

    fn wrong_field(event_type: &str, member_id: Option<i64>, payload: Value) -> String {
        match parse(event_type, member_id, payload) {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_must_have_the_fields_that_its_chain_needs() {
        assert_eq!(
            wrong_field("consumption.settled", None, json!({})),
            "member_id"
        );
        assert_eq!(
            wrong_field("note.created", Some(7), json!({})),
            "payload.note_id"
        );
        assert_eq!(
            wrong_field("task.assigned", None, json!({})),
            "payload.task_id"
        );
        assert!(parse("etl.finished", None, json!({})).is_ok());
        assert!(parse("task.assigned", None, json!({ "task_id": 3 })).is_ok());
    }

    #[test]
    fn an_invalid_id_is_rejected() {
        for id in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("7"),
            json!([]),
            json!(1e300),
        ] {
            let payload = json!({ "coach_id": id });
            assert_eq!(
                wrong_field("consumption.settled", Some(7), payload),
                "payload.coach_id"
            );
        }
        assert_eq!(wrong_field("etl.finished", Some(0), json!({})), "member_id");
        assert_eq!(
            wrong_field("etl.finished", None, json!({ "order_id": "" })),
            "payload.order_id"
        );
        assert!(parse("etl.finished", None, json!({ "order_id": "A-17" })).is_ok());
    }

    #[test]
    fn internal_and_unknown_event_types_are_rejected() {
        for event_type in ["prewarm", "", "CONSUMPTION.SETTLED", "chat.session_message"] {
            assert_eq!(wrong_field(event_type, Some(7), json!({})), "event_type");
        }
    }

    #[test]
    fn a_payload_that_is_too_large_or_contains_nul_is_rejected() {
        let large = json!({ "text": "大".repeat(MAX_PAYLOAD / 3) });
        assert_eq!(wrong_field("etl.finished", None, large), "payload");
        for nul in [
            json!({ "text": "a\0" }),
            json!({ "a\0": 1 }),
            json!({ "a": [{ "b": "\0" }] }),
        ] {
            assert_eq!(wrong_field("etl.finished", None, nul), "payload");
        }
    }

    #[test]
    fn events_about_one_member_differ_by_their_subject() {
        let subject = |payload| {
            parse("consumption.settled", Some(7), payload)
                .unwrap()
                .subject()
        };
        assert_eq!(
            subject(json!({ "order_id": 5, "coach_id": 1 })),
            "order_id:5"
        );
        assert_ne!(
            subject(json!({ "order_id": 5 })),
            subject(json!({ "order_id": 6 }))
        );
        assert_eq!(subject(json!({})), "-");
    }
}
