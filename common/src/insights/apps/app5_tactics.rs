//! What a coach may say to a member.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference, raw},
};
use crate::governance::apps::App;
use crate::insights::facts::MemberFacts;

/// Changes with the wording.
pub const PROMPT_VERSION: &str = "app5_tactics/1";

const TASK: &str = "按“事实”中的分析结果和会员资料，为教练写出不同场景下可以直接使用的沟通话术；\
    只输出 JSON：{\"tactics\": [{\"scenario\": \"场景\", \"script\": \"话术\"}]}";

/// What the prompt is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Facts<'a> {
    /// The answer of app4 about the same.
    #[serde(rename = "分析结果")]
    pub analysis: &'a Value,
    /// To whom it is to be said.
    #[serde(rename = "会员")]
    pub member: &'a MemberFacts,
}

/// Facts as JSON, within bounds.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::Tactics,
        task: TASK,
        references,
    };
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// What the app answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// One for each occasion.
    pub tactics: Vec<Tactic>,
}

/// Words for an occasion.
#[derive(Clone, Debug, Deserialize)]
pub struct Tactic {
    /// When to say it.
    pub scenario: String,
    /// What to say.
    pub script: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("tactics", &self.tactics)
    }
}
