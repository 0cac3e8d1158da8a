//! app5: suggested wording for a coach's conversations with a member.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section, filled},
    app4_analysis::Subject,
    prompt::{Prompt, Reference, raw},
    sources::Sources,
};
use crate::{
    governance::apps::App,
    insights::facts::MemberFacts,
    platform::error::{Error, Result},
};

pub(super) const DEFINITION: Definition = Definition {
    app: App::Tactics,
    title: "沟通话术",
    target: TargetKind::MemberOrTask,
    validity: Validity::Days(7),
    in_batches: true,
    prompt_version: "app5_tactics/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 2,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let (subject, analysis, references) = tokio::try_join!(
        Subject::read(sources),
        sources.latest(App::Analysis),
        sources.references(),
    )?;
    let facts = Facts {
        analysis: &analysis.ok_or(Error::NotFound)?,
        member: &subject.member,
    };
    Ok(prompt(&facts, &references))
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

    fn sections(&self) -> Vec<Section> {
        let tactics = self.tactics.iter();
        tactics
            .map(|tactic| Section::new(&tactic.scenario, &tactic.script))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::insights::apps::samples;

    #[test]
    fn a_changed_wording_needs_a_new_version_and_snapshot() {
        let analysis = json!({
            "task_description": "提醒李思远充值", "action_suggestions": ["周四前电话联系"],
            "one_line_summary": "常客，余额不足",
        });
        let facts = Facts {
            analysis: &analysis,
            member: &samples::member(2),
        };
        assert_snapshot!("app5_tactics", prompt(&facts, &[]));
    }
}
