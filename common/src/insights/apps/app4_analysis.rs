//! app4: recommended actions of a coach for a member.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section, filled},
    prompt::{Prompt, Reference, raw},
    sources::{SOME_ORDERS, Sources},
};
use crate::{
    governance::apps::App,
    insights::{
        facts::{self, CoachFacts, MemberFacts, Period, TaskFacts},
        results::Target,
    },
    platform::error::{Error, Result},
};

pub(super) const DEFINITION: Definition = Definition {
    app: App::Analysis,
    title: "任务分析",
    target: TargetKind::MemberOrTask,
    validity: Validity::Days(7),
    in_batches: true,
    prompt_version: "app4_analysis/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 1,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.about(facts.member, |member| raw(&Facts { member, ..*facts }))
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let subject = Subject::read(sources).await?;
    let (clues, references) =
        tokio::try_join!(sources.clues(subject.member_id), sources.references())?;
    let facts = Facts {
        member: &subject.member,
        coach: subject.coach.as_ref(),
        task: subject.task.as_ref(),
        clues: clues.as_ref(),
    };
    Ok(prompt(&facts, &references))
}

/// The member of the target, and the coach and task if there are any.
pub(super) struct Subject {
    member_id: i64,
    pub member: MemberFacts,
    coach: Option<CoachFacts>,
    task: Option<TaskFacts>,
}

impl Subject {
    pub async fn read(sources: Sources<'_>) -> Result<Self> {
        let (db, site_id) = (sources.db, sources.site_id);
        let task = match sources.target {
            Target::Task(task_id) => Some(facts::task(db, site_id, *task_id).await?),
            _ => None,
        };
        let member_id = task
            .as_ref()
            .and_then(|task| task.member_id)
            .or(sources.member_id)
            .ok_or(Error::NotFound)?;
        let coach_id = task.as_ref().map(|task| task.coach_id).or(sources.coach_id);
        let coach = async {
            match coach_id {
                // A new coach has no facts yet. The prompt then has only the member.
                Some(id) => match facts::coach(db, site_id, id, Period::ThisMonth).await {
                    Err(Error::NotFound) => Ok(None),
                    found => found.map(Some),
                },
                None => Ok(None),
            }
        };
        let (member, coach) = tokio::try_join!(sources.member(member_id, SOME_ORDERS), coach)?;
        Ok(Self {
            member_id,
            member,
            coach,
            task,
        })
    }
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

    fn sections(&self) -> Vec<Section> {
        let first = Section::new(&self.one_line_summary, &self.task_description);
        let steps = self.action_suggestions.iter();
        let steps = steps.map(|step| Section::new("建议", step));
        std::iter::once(first).chain(steps).collect()
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
            coach: Some(&samples::coach()),
            task: Some(&samples::task()),
            clues: Some(&samples::clues()),
        };
        assert_snapshot!("app4_analysis", prompt(&facts, &[]));
    }
}
