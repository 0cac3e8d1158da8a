//! What an application does before its first text.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::json::{members, word};
use crate::platform::words::words;

/// Names are cut to this number of characters.
const NAME_LENGTH: usize = 50;

/// Receives the newest progress of a stream, until its first text.
pub type ProgressSender = watch::Sender<Option<Progress>>;

/// What an application does before its first text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain data")]
pub struct Progress {
    pub kind: ProgressKind,
    /// As the application names it, such as the title of a workflow node. May be empty.
    pub name: String,
}

words! {
    /// Kind of [`Progress`].
    pub enum ProgressKind {
        Thinking = "thinking",
        /// Searches the documents.
        Retrieval = "retrieval",
        /// Calls a plugin or an MCP server.
        Tool = "tool",
        /// A node of a workflow.
        Node = "node",
    }
}

/// An item of `output.thoughts`.
#[derive(Deserialize)]
struct Thought<'a> {
    #[serde(borrow, default)]
    action_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    action_name: Option<&'a RawValue>,
}

impl Progress {
    /// The last item of `output.thoughts`.
    pub(super) fn of_thoughts(raw: &RawValue) -> Option<Self> {
        let thoughts: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let thought: Thought = members(thoughts.last()?).ok()?;
        let kind = match word(thought.action_type, NAME_LENGTH).as_deref() {
            Some("agentRag") => ProgressKind::Retrieval,
            Some("api" | "mcp") => ProgressKind::Tool,
            // The answer itself.
            Some("response") => return None,
            _ => ProgressKind::Thinking,
        };
        Some(Self::new(kind, thought.action_name))
    }

    /// A workflow node with this `node_name`.
    pub(super) fn of_node(name: Option<&RawValue>) -> Self {
        Self::new(ProgressKind::Node, name)
    }

    fn new(kind: ProgressKind, name: Option<&RawValue>) -> Self {
        Self {
            kind,
            name: word(name, NAME_LENGTH).unwrap_or_default(),
        }
    }
}
