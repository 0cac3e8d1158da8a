//! app8: one list of clues, merged from consumption and notes.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section, filled},
    prompt::{Prompt, Reference},
    sources::Sources,
};
use crate::{governance::apps::App, insights::results, platform::error::Result};

/// Number of notes whose clues are consolidated.
const NOTES: i64 = 20;

pub(super) const DEFINITION: Definition = Definition {
    app: App::ClueConsolidated,
    title: "线索汇总",
    target: TargetKind::Member,
    validity: Validity::Days(7),
    in_batches: true,
    prompt_version: "app8_clue_consolidated/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 2,
};

const TASK: &str = "把“事实”中各来源的线索去重、合并成一份，providers 写明每条来自哪些来源，没有就给空列表；\
    只输出 JSON：{\"clues\": [{\"category\": \"类别\", \"summary\": \"要点\", \"detail\": \"依据\", \"providers\": [\"来源\"]}]}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The member's name.
    pub name: &'a str,
    /// Results of app3 and app6, each with its application. A list of clues without the result is
    /// accepted, too.
    pub sources: &'a [(App, &'a Value)],
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "会员姓名")]
    name: &'a str,
    #[serde(rename = "各来源线索")]
    sources: Vec<Source<'a>>,
}

#[derive(Serialize)]
struct Source<'a> {
    #[serde(rename = "来源")]
    label: &'static str,
    #[serde(rename = "线索")]
    clues: &'a Value,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt::new(&DEFINITION, references);
    let sources = facts.sources.iter().map(|&(app, result)| Source {
        label: label(app),
        clues: result.get("clues").unwrap_or(result),
    });
    prompt.of(&Written {
        name: facts.name,
        sources: sources.collect(),
    })
}

/// The name of a source in the prompt.
fn label(app: App) -> &'static str {
    match app {
        App::Clue => "消费线索",
        App::NoteAnalysis => "备注线索",
        other => other.name(),
    }
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let member_id = sources.target_member()?;
    let (member, of_visits, of_notes, references) = tokio::try_join!(
        sources.member(member_id, 0),
        sources.latest(App::Clue),
        results::about_member(
            sources.db,
            sources.site_id,
            App::NoteAnalysis,
            member_id,
            NOTES
        ),
        sources.references(),
    )?;
    let of_visits = of_visits.iter().map(|result| (App::Clue, result));
    let of_notes = of_notes.iter();
    let of_notes = of_notes.map(|entry| (App::NoteAnalysis, &entry.result));
    let sources: Vec<(App, &Value)> = of_visits.chain(of_notes).collect();
    let facts = Facts {
        name: member.name(),
        sources: &sources,
    };
    Ok(prompt(&facts, &references))
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Empty if there are no clues.
    pub clues: Vec<ConsolidatedClue>,
}

/// A clue and its sources.
#[derive(Clone, Debug, Deserialize)]
pub struct ConsolidatedClue {
    /// For example 消费习惯.
    pub category: String,
    /// One line of text.
    pub summary: String,
    /// The evidence for the clue.
    pub detail: String,
    /// At least one source.
    pub providers: Vec<String>,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        self.clues
            .iter()
            .try_for_each(|clue| filled("providers", &clue.providers))
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
        let (member, clues) = (samples::member(2), samples::clues());
        let facts = Facts {
            name: member.name(),
            sources: &[(App::Clue, &clues), (App::NoteAnalysis, &clues["clues"])],
        };
        assert_snapshot!("app8_clue_consolidated", prompt(&facts, &[]));
    }
}
