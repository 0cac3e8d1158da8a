//! app3: clues about a member from the member's consumption.

use serde::{Deserialize, Serialize};

use super::{
    answer::{self, BadAnswer},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app3_clue/1";

const TASK: &str = "从“事实”中会员的消费明细提炼维护线索，每条说明类别、要点和依据，没有就给空列表；\
    只输出 JSON：{\"clues\": [{\"category\": \"类别\", \"summary\": \"要点\", \"detail\": \"依据\"}]}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Facts<'a> {
    /// With all orders that are available.
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::Clue,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member }))
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Empty if there are no clues.
    pub clues: Vec<Clue>,
}

/// A useful fact about a member.
#[derive(Clone, Debug, Deserialize)]
pub struct Clue {
    /// For example 消费习惯.
    pub category: String,
    /// One line of text.
    pub summary: String,
    /// The evidence for the clue.
    pub detail: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        Ok(())
    }
}
