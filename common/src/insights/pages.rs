//! Pages of the mini-program on which a question can be asked, and the facts that a page shows.

use serde::Serialize;
use serde_json::Value;

use crate::{
    governance::auth::Caller,
    insights::{
        access::{self, Subject},
        contains_nul,
        facts::{self, Period},
    },
    platform::{
        db::Db,
        error::{Error, Reason, Result},
        words::words,
    },
};

/// Size limit of a page context, in bytes of JSON.
const MAX_CONTEXT: usize = 4 * 1024;

/// Number of a member's orders in the facts of a page.
const ORDERS: i64 = 20;

words! {
    /// A page, as in the API.
    pub enum Page {
        /// Finance board (财务看板).
        BoardFinance = "board-finance",
        /// Member board (会员看板).
        BoardCustomer = "board-customer",
        /// Coach board (教练看板).
        BoardCoach = "board-coach",
        TaskDetail = "task-detail",
        CustomerDetail = "customer-detail",
        CoachDetail = "coach-detail",
        /// Results of the caller (业绩).
        Performance = "performance",
    }
}

/// The page on which a question was asked.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "plain data")]
pub struct PageRequest {
    pub page: Page,
    /// Filters of the page, a JSON object.
    pub context: Value,
}

impl PageRequest {
    /// Checks `sourcePage` and `pageContext`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the page is unknown, or if the context is not an object, larger than
    /// 4 KiB, or contains NUL.
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
    /// True if the caller may read the facts of the page.
    pub fn is_readable_by(&self, caller: &Caller) -> bool {
        let subject = match self.page {
            Page::BoardFinance => Subject::Finance,
            Page::BoardCoach => Subject::Coaches,
            Page::CoachDetail => match self.context_id() {
                Ok(coach) => Subject::Coach(coach),
                Err(_) => return true,
            },
            Page::Performance => Subject::Coach(caller.user_id),
            Page::BoardCustomer | Page::TaskDetail | Page::CustomerDetail => Subject::Member,
        };
        access::may_read(caller, subject)
    }

    /// The facts that the page shows, as JSON with Chinese keys. They belong to the caller's site,
    /// and for `performance` to the caller. Missing and invalid filters get their defaults.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the site has no such task, member or coach.
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

    pub(super) fn period(&self) -> Period {
        let name = self.context["period"].as_str();
        name.and_then(Period::parse).unwrap_or(Period::ThisMonth)
    }

    pub(super) fn area(&self) -> Option<&str> {
        self.context["area"].as_str().filter(|area| *area != "all")
    }

    /// Clients send the id as a number or as text.
    pub(super) fn context_id(&self) -> Result<i64> {
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
    fn filters_are_read_as_clients_send_them() {
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
