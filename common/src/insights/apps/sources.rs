//! Reads the facts and earlier results from which a prompt is made.

use serde_json::Value;

use super::Reference;
use crate::{
    governance::apps::App,
    insights::{
        facts::{self, MemberFacts},
        results::{self, Entry, Target},
    },
    platform::{
        db::Db,
        error::{Error, Result},
    },
};

/// Number of earlier results in a prompt.
const REFERENCES: i64 = 2;
/// Number of orders in a prompt that does not analyse consumption in detail.
pub(super) const SOME_ORDERS: i64 = 20;

/// One step of a job: the app, its target, and where their facts are.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub db: &'a Db,
    pub site_id: i64,
    pub app: App,
    pub target: &'a Target,
    /// The member of the job.
    pub member_id: Option<i64>,
    /// The coach in the payload of the job.
    pub coach_id: Option<i64>,
}

impl Sources<'_> {
    /// The last results of the app for the target, newest first.
    pub(super) async fn references(&self) -> Result<Vec<Reference>> {
        let entries =
            results::history(self.db, self.site_id, self.app, self.target, REFERENCES).await?;
        let reference = |entry: Entry| Reference {
            created_at: entry.created_at,
            result: entry.result,
        };
        Ok(entries.into_iter().map(reference).collect())
    }

    /// The member of the target.
    pub(super) fn target_member(&self) -> Result<i64> {
        match self.target {
            Target::Member(id) => Ok(*id),
            _ => Err(wrong_target()),
        }
    }

    /// A member of the site with this number of orders, newest first.
    pub(super) async fn member(&self, member_id: i64, orders: i64) -> Result<MemberFacts> {
        facts::member(self.db, self.site_id, member_id, orders).await
    }

    /// The newest result of another app for the same target.
    pub(super) async fn latest(&self, app: App) -> Result<Option<Value>> {
        let entry = results::latest(self.db, self.site_id, app, self.target).await?;
        Ok(entry.map(|entry| entry.result))
    }

    /// The clues about a member: consolidated, or else from the consumption alone.
    pub(super) async fn clues(&self, member_id: i64) -> Result<Option<Value>> {
        let target = Target::Member(member_id);
        for app in [App::ClueConsolidated, App::Clue] {
            if let Some(entry) = results::latest(self.db, self.site_id, app, &target).await? {
                return Ok(Some(entry.result));
            }
        }
        Ok(None)
    }
}

pub(super) fn wrong_target() -> Error {
    Error::internal("an app has a target of another kind")
}
