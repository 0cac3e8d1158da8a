//! app4: recommended actions of a coach for a member.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::{CoachFacts, MemberFacts, TaskFacts};

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app4_analysis/1";

const TASK: &str = "结合“事实”中的会员、教练、任务和线索，说明要做什么、怎么做，并用一句话概括；\
    只输出 JSON：{\"task_description\": \"任务说明\", \"action_suggestions\": [\"行动建议\"], \"one_line_summary\": \"一句话概括\"}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Facts<'a> {
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
    /// The coach who will act, if known.
    #[serde(rename = "教练", skip_serializing_if = "Option::is_none")]
    pub coach: Option<&'a CoachFacts>,
    /// The task of the coach, if there is one.
    #[serde(rename = "任务", skip_serializing_if = "Option::is_none")]
    pub task: Option<&'a TaskFacts>,
    /// The newest result of app8 or app3.
    #[serde(rename = "最新线索", skip_serializing_if = "Option::is_none")]
    pub clues: Option<&'a Value>,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::Analysis,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// What the coach should do.
    pub task_description: String,
    /// How to do it, step by step.
    pub action_suggestions: Vec<String>,
    /// A summary in one line.
    pub one_line_summary: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("action_suggestions", &self.action_suggestions)
    }
}
