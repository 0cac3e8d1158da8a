//! Builds the prompt of a step from the facts of its target and earlier results.

use serde_json::Value;

use super::{chain::id, queue::Job};
use crate::{
    governance::apps::App,
    insights::{
        apps::{
            Reference, app2_finance, app2a_finance_area, app3_clue, app4_analysis, app5_tactics,
            app6_note_analysis, app7_customer_analysis, app8_clue_consolidated,
        },
        facts::{self, CoachFacts, MemberFacts, Period, TaskFacts},
        results::{self, Entry, Target},
    },
    platform::{
        db::Db,
        error::{Error, Result},
    },
};

/// Number of earlier results in a prompt.
const REFERENCES: i64 = 2;
/// Number of orders in the prompt of app3, which analyses consumption in detail.
const ALL_ORDERS: i64 = 200;
/// Number of orders in other prompts.
const SOME_ORDERS: i64 = 20;
/// Number of notes whose clues are consolidated.
const NOTES: i64 = 20;

/// The prompt of an application for a target.
///
/// # Errors
/// [`Error::NotFound`] if the target does not exist in the site.
pub(super) async fn of(db: &Db, job: &Job, app: App, target: &Target) -> Result<String> {
    let site_id = job.site_id;
    let references = references(db, site_id, app, target);
    match (app, target) {
        (App::Finance, Target::Filter { period, area }) => {
            let finance = facts::finance(db, site_id, *period, area.as_deref());
            let (finance, references) = tokio::try_join!(finance, references)?;
            let facts = app2_finance::Facts {
                period: *period,
                area: area.as_deref(),
                finance: &finance,
            };
            Ok(app2_finance::prompt(&facts, &references))
        }
        (App::FinanceArea, Target::Areas(period)) => {
            let finance = facts::finance(db, site_id, *period, None);
            let (finance, references) = tokio::try_join!(finance, references)?;
            let facts = app2a_finance_area::Facts {
                period: *period,
                finance: &finance,
            };
            Ok(app2a_finance_area::prompt(&facts, &references))
        }
        (App::Clue, Target::Member(member_id)) => {
            let member = facts::member(db, site_id, *member_id, ALL_ORDERS);
            let (member, references) = tokio::try_join!(member, references)?;
            let facts = app3_clue::Facts { member: &member };
            Ok(app3_clue::prompt(&facts, &references))
        }
        (App::Analysis, target) => {
            let about = Subject::of(db, job, target).await?;
            let clues = clues(db, site_id, about.member_id);
            let (clues, references) = tokio::try_join!(clues, references)?;
            let facts = app4_analysis::Facts {
                member: &about.member,
                coach: about.coach.as_ref(),
                task: about.task.as_ref(),
                clues: clues.as_ref(),
            };
            Ok(app4_analysis::prompt(&facts, &references))
        }
        (App::Tactics, target) => {
            let analysis = async {
                let entry = results::latest(db, site_id, App::Analysis, target).await?;
                entry.map(|entry| entry.result).ok_or(Error::NotFound)
            };
            let about = Subject::of(db, job, target);
            let (about, analysis, references) = tokio::try_join!(about, analysis, references)?;
            let facts = app5_tactics::Facts {
                analysis: &analysis,
                member: &about.member,
            };
            Ok(app5_tactics::prompt(&facts, &references))
        }
        (App::NoteAnalysis, Target::Note(note_id)) => {
            let (note, references) =
                tokio::try_join!(facts::note(db, site_id, *note_id), references)?;
            // The result is stored for the member of the event, so it must be the note's member.
            if job.member_id != Some(note.member_id) {
                return Err(Error::NotFound);
            }
            let member = facts::member(db, site_id, note.member_id, SOME_ORDERS).await?;
            let facts = app6_note_analysis::Facts {
                note: &note,
                member: &member,
            };
            Ok(app6_note_analysis::prompt(&facts, &references))
        }
        (App::CustomerAnalysis, Target::Member(member_id)) => {
            let member = facts::member(db, site_id, *member_id, SOME_ORDERS);
            let clues = clues(db, site_id, *member_id);
            let (member, clues, references) = tokio::try_join!(member, clues, references)?;
            let facts = app7_customer_analysis::Facts {
                member: &member,
                clues: clues.as_ref(),
            };
            Ok(app7_customer_analysis::prompt(&facts, &references))
        }
        (App::ClueConsolidated, Target::Member(member_id)) => {
            let member = facts::member(db, site_id, *member_id, 0);
            let of_visits = results::latest(db, site_id, App::Clue, target);
            let of_notes = results::about_member(db, site_id, App::NoteAnalysis, *member_id, NOTES);
            let (member, of_visits, of_notes, references) =
                tokio::try_join!(member, of_visits, of_notes, references)?;
            let of_visits = of_visits.iter().map(|entry| (App::Clue, &entry.result));
            let of_notes = of_notes.iter();
            let of_notes = of_notes.map(|entry| (App::NoteAnalysis, &entry.result));
            let sources: Vec<(App, &Value)> = of_visits.chain(of_notes).collect();
            let facts = app8_clue_consolidated::Facts {
                name: member.name(),
                sources: &sources,
            };
            Ok(app8_clue_consolidated::prompt(&facts, &references))
        }
        _ => Err(Error::internal("an app has a target of another kind")),
    }
}

/// The member of an analysis, and the coach and task if there are any.
struct Subject {
    member_id: i64,
    member: MemberFacts,
    coach: Option<CoachFacts>,
    task: Option<TaskFacts>,
}

impl Subject {
    async fn of(db: &Db, job: &Job, target: &Target) -> Result<Self> {
        let task = match target {
            Target::Task(task_id) => Some(facts::task(db, job.site_id, *task_id).await?),
            _ => None,
        };
        let member_id = task
            .as_ref()
            .and_then(|task| task.member_id)
            .or(job.member_id)
            .ok_or(Error::NotFound)?;
        let coach_id = task
            .as_ref()
            .map(|task| task.coach_id)
            .or(id(&job.payload, "coach_id"));
        let member = facts::member(db, job.site_id, member_id, SOME_ORDERS);
        let coach = async {
            match coach_id {
                // A new coach has no facts yet. The prompt then has only the member.
                Some(id) => match facts::coach(db, job.site_id, id, Period::ThisMonth).await {
                    Err(Error::NotFound) => Ok(None),
                    found => found.map(Some),
                },
                None => Ok(None),
            }
        };
        let (member, coach) = tokio::try_join!(member, coach)?;
        Ok(Self {
            member_id,
            member,
            coach,
            task,
        })
    }
}

/// The clues about a member: consolidated, or else from the consumption alone.
async fn clues(db: &Db, site_id: i64, member_id: i64) -> Result<Option<Value>> {
    let target = Target::Member(member_id);
    for app in [App::ClueConsolidated, App::Clue] {
        if let Some(entry) = results::latest(db, site_id, app, &target).await? {
            return Ok(Some(entry.result));
        }
    }
    Ok(None)
}

async fn references(db: &Db, site_id: i64, app: App, target: &Target) -> Result<Vec<Reference>> {
    let entries = results::history(db, site_id, app, target, REFERENCES).await?;
    let reference = |entry: Entry| Reference {
        created_at: entry.created_at,
        result: entry.result,
    };
    Ok(entries.into_iter().map(reference).collect())
}
