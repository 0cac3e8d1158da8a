//! What is known of a site's business, read from the schema `dws` that the operator's ETL fills.
//!
//! Each kind of facts is one statement of one site. What goes into a prompt is the serialized form:
//! its names are those that people use, and every figure in it is a column of that statement.

mod coach;
mod finance;
mod member;
mod note;
mod task;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize, Serializer};
use sqlx::types::Json;

pub use coach::{CoachFacts, CoachesFacts, coach, coaches};
pub use finance::{FinanceFacts, finance};
pub use member::{MemberFacts, MembersFacts, member, members};
pub use note::{NoteFacts, note};
pub use task::{TaskFacts, task};

use crate::platform::{
    db::StatementTimeout as _,
    error::{Error, Result},
    words::words,
};

words! {
    /// A named range of days, relative to the business date. Clients and `period_days` use its
    /// word, prompts its [`label`](Period::label).
    #[derive(PartialOrd, Ord)]
    pub enum Period {
        Today = "today",
        Yesterday = "yesterday",
        /// From Monday.
        ThisWeek = "this_week",
        LastWeek = "last_week",
        ThisMonth = "this_month",
        LastMonth = "last_month",
        /// Whole months, before this one.
        Last3Months = "last_3_months",
        /// Whole months, before this one.
        Last6Months = "last_6_months",
    }
}

impl Period {
    /// As people say it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Today => "今日",
            Self::Yesterday => "昨日",
            Self::ThisWeek => "本周",
            Self::LastWeek => "上周",
            Self::ThisMonth => "本月",
            Self::LastMonth => "上月",
            Self::Last3Months => "近三个月",
            Self::Last6Months => "近六个月",
        }
    }
}

/// As people say it: it stands in facts.
impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// The facts that a statement answers, if there is somebody or something that they are about.
async fn found<T>(row: impl Future<Output = sqlx::Result<Option<Json<T>>>> + Send) -> Result<T> {
    Ok(row
        .with_statement_timeout()
        .await?
        .ok_or(Error::NotFound)?
        .0)
}

/// First and last day of what facts are about.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Days {
    #[serde(rename(serialize = "起始日期"))]
    first_day: NaiveDate,
    #[serde(rename(serialize = "截止日期"))]
    last_day: NaiveDate,
}
