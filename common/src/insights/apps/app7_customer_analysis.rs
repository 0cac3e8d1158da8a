//! app7: strategies to retain a member.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app7_customer_analysis/1";

const TASK: &str = "根据“事实”中会员的消费、备注和线索制定维护策略，并作一段总结；\
    只输出 JSON：{\"strategies\": [{\"title\": \"策略\", \"content\": \"做法\"}], \"summary\": \"总结\"}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Facts<'a> {
    /// With consumption and notes.
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
    /// The newest result of app8 or app3.
    #[serde(rename = "线索", skip_serializing_if = "Option::is_none")]
    pub clues: Option<&'a Value>,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::CustomerAnalysis,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Most urgent first.
    pub strategies: Vec<Strategy>,
    /// A paragraph of text.
    pub summary: String,
}

/// One strategy.
#[derive(Clone, Debug, Deserialize)]
pub struct Strategy {
    /// One line of text.
    pub title: String,
    /// The actions to take.
    pub content: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("strategies", &self.strategies)
    }
}
