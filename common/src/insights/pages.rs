//! The pages of the mini-program from which a question can be asked, and what a page shows.

use serde::Serialize;
use serde_json::Value;

use crate::{
    governance::auth::Caller,
    insights::{
        contains_nul,
        facts::{self, Period},
    },
    platform::{
        db::Db,
        error::{Error, Reason, Result},
        words::words,
    },
};

/// The largest page context, in bytes of JSON.
const MAX_CONTEXT: usize = 4 * 1024;

/// Orders of a member that a page shows.
const ORDERS: i64 = 20;

words! {
    /// A page, as clients spell it.
    pub enum Page {
        /// 财务看板.
        BoardFinance = "board-finance",
        /// 会员看板.
        BoardCustomer = "board-customer",
        /// 教练看板.
        BoardCoach = "board-coach",
        TaskDetail = "task-detail",
        CustomerDetail = "customer-detail",
        CoachDetail = "coach-detail",
        /// 业绩.
        Performance = "performance",
    }
}

/// Where a question was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct PageRequest {
    /// The page.
    pub page: Page,
    /// Its filters.
    pub context: Value,
}

impl PageRequest {
    /// Checks `sourcePage` and `pageContext`.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(source_page: Option<&str>, context: Option<Value>) -> Result<Option<Self>> {
        let context = context.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if !context.is_object() {
            return Err(Error::invalid("pageContext", Reason::Type));
        }
        let json = context.to_string();
        if json.len() > MAX_CONTEXT {
            return Err(Error::invalid("pageContext", Reason::TooLarge(MAX_CONTEXT)));
        }
        if contains_nul(&context) {
            return Err(Error::invalid("pageContext", Reason::Nul));
        }
        let Some(name) = source_page else {
            return Ok(None);
        };
        let page = Page::parse(name).ok_or(Error::invalid("sourcePage", Reason::Unknown))?;
        Ok(Some(Self { page, context }))
    }
}

impl PageRequest {
    /// What the page shows, as JSON whose names are people's words: of the caller's own site, and for
    /// `performance` of the caller. Filters that the page has none of are taken for the usual ones.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the site has no such task, member or coach.
    pub async fn facts(&self, db: &Db, caller: &Caller) -> Result<String> {
        let site = caller.site_id;
        match self.page {
            Page::BoardFinance => {
                json(&facts::finance(db, site, self.period(), self.area()).await?)
            }
            Page::BoardCustomer => json(&facts::members(db, site, self.period()).await?),
            Page::BoardCoach => json(&facts::coaches(db, site, self.period()).await?),
            Page::CustomerDetail => {
                json(&facts::member(db, site, self.context_id()?, ORDERS).await?)
            }
            Page::CoachDetail => {
                json(&facts::coach(db, site, self.context_id()?, self.period()).await?)
            }
            Page::Performance => {
                json(&facts::coach(db, site, caller.user_id, self.period()).await?)
            }
            Page::TaskDetail => {
                let task = facts::task(db, site, self.context_id()?).await?;
                let member = match task.member_id {
                    Some(member_id) => Some(facts::member(db, site, member_id, ORDERS).await?),
                    None => None,
                };
                json(&TaskPage { task, member })
            }
        }
    }

    fn period(&self) -> Period {
        let name = self.context["period"].as_str();
        name.and_then(Period::parse).unwrap_or(Period::ThisMonth)
    }

    fn area(&self) -> Option<&str> {
        self.context["area"].as_str().filter(|area| *area != "all")
    }

    /// Clients send ids as numbers and as text.
    fn context_id(&self) -> Result<i64> {
        let id = &self.context["contextId"];
        let id = id.as_i64().or_else(|| id.as_str()?.parse().ok());
        id.ok_or(Error::NotFound)
    }
}

#[derive(Serialize)]
struct TaskPage {
    #[serde(flatten)]
    task: facts::TaskFacts,
    #[serde(rename = "会员")]
    member: Option<facts::MemberFacts>,
}

fn json(facts: &impl Serialize) -> Result<String> {
    serde_json::to_string(facts)
        .map_err(|err| Error::Internal("facts are not JSON".into(), Some(err.into())))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_taken_as_clients_write_them() {
        let page = |context| {
            PageRequest::parse(Some("board-finance"), Some(context))
                .unwrap()
                .unwrap()
        };
        let full = page(json!({ "period": "last_week", "area": "包厢", "contextId": "10001" }));
        assert_eq!(
            (full.period(), full.area(), full.context_id().unwrap()),
            (Period::LastWeek, Some("包厢"), 10_001)
        );
        let odd = page(json!({ "period": 7, "area": "all", "contextId": { "id": 1 } }));
        assert_eq!((odd.period(), odd.area()), (Period::ThisMonth, None));
        assert!(odd.context_id().is_err());
        assert_eq!(page(json!({ "contextId": 42 })).context_id().unwrap(), 42);
    }
}
