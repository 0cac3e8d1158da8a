//! app6: score of a note about a member, and clues from it.

use serde::{Deserialize, Serialize};

pub use super::app3_clue::Clue;
use super::{
    answer::{self, BadAnswer},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::{MemberFacts, NoteFacts};

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app6_note_analysis/1";

const TASK: &str = "为“事实”中的备注按信息价值打 1 到 10 的整数分，并提炼其中的维护线索，没有就给空列表；\
    只输出 JSON：{\"score\": 6, \"clues\": [{\"category\": \"类别\", \"summary\": \"要点\", \"detail\": \"依据\"}]}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Facts<'a> {
    #[serde(rename = "备注")]
    pub note: &'a NoteFacts,
    /// The member of the note.
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::NoteAnalysis,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// From 1 (no information) to 10.
    pub score: i32,
    /// Empty if there are no clues.
    pub clues: Vec<Clue>,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        match self.score {
            1..=10 => Ok(()),
            _ => Err(BadAnswer::Score),
        }
    }

    fn score(&self) -> Option<i32> {
        Some(self.score)
    }
}
