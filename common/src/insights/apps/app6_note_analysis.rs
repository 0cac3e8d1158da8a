//! app6: score of a note about a member, and clues from it.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

pub use super::app3_clue::Clue;
use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section},
    prompt::{Prompt, Reference, raw},
    sources::{SOME_ORDERS, Sources, wrong_target},
};
use crate::{
    governance::apps::App,
    insights::{
        facts::{self, MemberFacts, NoteFacts},
        results::Target,
    },
    platform::error::{Error, Result},
};

pub(super) const DEFINITION: Definition = Definition {
    app: App::NoteAnalysis,
    title: "备注分析",
    target: TargetKind::Note,
    validity: Validity::Days(30),
    in_batches: false,
    prompt_version: "app6_note_analysis/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 4,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let Target::Note(note_id) = *sources.target else {
        return Err(wrong_target());
    };
    let (note, references) = tokio::try_join!(
        facts::note(sources.db, sources.site_id, note_id),
        sources.references(),
    )?;
    // The result is stored for the member of the job, so it must be the note's member.
    if sources.member_id != Some(note.member_id) {
        return Err(Error::NotFound);
    }
    let member = sources.member(note.member_id, SOME_ORDERS).await?;
    let facts = Facts {
        note: &note,
        member: &member,
    };
    Ok(prompt(&facts, &references))
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
        let facts = Facts {
            note: &samples::note("想参加下个月的店内比赛，希望有人陪练走位。"),
            member: &samples::member(2),
        };
        assert_snapshot!("app6_note_analysis", prompt(&facts, &[]));
    }
}
