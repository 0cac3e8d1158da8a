//! app7: strategies to retain a member.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section, filled},
    prompt::{Prompt, Reference, raw},
    sources::{SOME_ORDERS, Sources},
};
use crate::{governance::apps::App, insights::facts::MemberFacts, platform::error::Result};

pub(super) const DEFINITION: Definition = Definition {
    app: App::CustomerAnalysis,
    title: "客户分析",
    target: TargetKind::Member,
    validity: Validity::Days(7),
    in_batches: true,
    prompt_version: "app7_customer_analysis/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 1,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let member_id = sources.target_member()?;
    let (member, clues, references) = tokio::try_join!(
        sources.member(member_id, SOME_ORDERS),
        sources.clues(member_id),
        sources.references(),
    )?;
    let facts = Facts {
        member: &member,
        clues: clues.as_ref(),
    };
    Ok(prompt(&facts, &references))
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

    fn sections(&self) -> Vec<Section> {
        let first = Section::new("", &self.summary);
        let strategies = self.strategies.iter();
        let strategies = strategies.map(|each| Section::new(&each.title, &each.content));
        std::iter::once(first).chain(strategies).collect()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::insights::apps::samples;

    #[test]
    fn a_changed_wording_needs_a_new_version_and_snapshot() {
        let facts = Facts {
            member: &samples::member(2),
            clues: Some(&samples::clues()),
        };
        assert_snapshot!("app7_customer_analysis", prompt(&facts, &[]));
    }
}
