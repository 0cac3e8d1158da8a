//! What a member's consumption tells of the member.

use serde::{Deserialize, Serialize};

use super::{
    answer::{self, BadAnswer},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// Changes with the wording.
pub const PROMPT_VERSION: &str = "app3_clue/1";

const TASK: &str = "从“事实”中会员的消费明细提炼维护线索，每条说明类别、要点和依据，没有就给空列表；\
    只输出 JSON：{\"clues\": [{\"category\": \"类别\", \"summary\": \"要点\", \"detail\": \"依据\"}]}";

/// What the prompt is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Facts<'a> {
    /// With as many orders as there are.
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
}

/// Facts as JSON, within bounds.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::Clue,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member }))
}

/// What the app answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// A member may have none.
    pub clues: Vec<Clue>,
}

/// Something worth knowing of a member.
#[derive(Clone, Debug, Deserialize)]
pub struct Clue {
    /// Such as 消费习惯.
    pub category: String,
    /// One line.
    pub summary: String,
    /// What it rests on.
    pub detail: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        Ok(())
    }
}
