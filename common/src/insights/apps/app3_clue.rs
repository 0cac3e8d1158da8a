//! app3: clues about a member from the member's consumption.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section},
    prompt::{Prompt, Reference, raw},
    sources::Sources,
};
use crate::{governance::apps::App, insights::facts::MemberFacts, platform::error::Result};

/// Number of orders in the prompt. It is larger than in other prompts, because this app analyses
/// consumption in detail.
const ORDERS: i64 = 200;

pub(super) const DEFINITION: Definition = Definition {
    app: App::Clue,
    title: "消费线索",
    target: TargetKind::Member,
    validity: Validity::Days(7),
    in_batches: true,
    prompt_version: "app3_clue/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 3,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.about(facts.member, |member| raw(&Facts { member }))
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let (member, references) = tokio::try_join!(
        sources.member(sources.target_member()?, ORDERS),
        sources.references(),
    )?;
    Ok(prompt(&Facts { member: &member }, &references))
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

    fn sections(&self) -> Vec<Section> {
        let clues = self.clues.iter();
        clues
            .map(|clue| Section::new(&clue.summary, &clue.detail))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::insights::apps::samples;

    #[test]
    fn a_changed_wording_needs_a_new_version_and_snapshot() {
        let member = samples::member(2);
        assert_snapshot!("app3_clue", prompt(&Facts { member: &member }, &[]));
    }
}
