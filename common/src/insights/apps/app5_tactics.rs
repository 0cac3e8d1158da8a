//! app5: suggested wording for a coach's conversations with a member.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app5_tactics/1";

const TASK: &str = "按“事实”中的分析结果和会员资料，为教练写出不同场景下可以直接使用的沟通话术；\
    只输出 JSON：{\"tactics\": [{\"scenario\": \"场景\", \"script\": \"话术\"}]}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Facts<'a> {
    /// The result of app4 for the same target.
    #[serde(rename = "分析结果")]
    pub analysis: &'a Value,
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::Tactics,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// One item per occasion.
    pub tactics: Vec<Tactic>,
}

/// A script for one occasion.
#[derive(Clone, Debug, Deserialize)]
pub struct Tactic {
    /// The occasion.
    pub scenario: String,
    /// The text for the coach to say.
    pub script: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("tactics", &self.tactics)
    }
}
