//! How a member is to be kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// Changes with the wording.
pub const PROMPT_VERSION: &str = "app7_customer_analysis/1";

const TASK: &str = "根据“事实”中会员的消费、备注和线索制定维护策略，并作一段总结；\
    只输出 JSON：{\"strategies\": [{\"title\": \"策略\", \"content\": \"做法\"}], \"summary\": \"总结\"}";

/// What the prompt is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Facts<'a> {
    /// With consumption and notes.
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
    /// The answer of app8.
    #[serde(rename = "线索", skip_serializing_if = "Option::is_none")]
    pub clues: Option<&'a Value>,
}

/// Facts as JSON, within bounds.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::CustomerAnalysis,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// What the app answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// The most urgent first.
    pub strategies: Vec<Strategy>,
    /// A paragraph.
    pub summary: String,
}

/// One way to keep a member.
#[derive(Clone, Debug, Deserialize)]
pub struct Strategy {
    /// One line.
    pub title: String,
    /// What to do.
    pub content: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("strategies", &self.strategies)
    }
}
