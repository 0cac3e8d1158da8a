//! Facts about a site's business, from the schema `dws`, which the operator's ETL fills.
//!
//! Each kind of facts is one statement for one site. Prompts contain the serialized form. It has
//! Chinese keys, and each figure in it comes from that statement.

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
    /// A named range of days, relative to the business date. The API and `period_days` use its
    /// word, prompts its [`label`](Period::label).
    #[derive(PartialOrd, Ord)]
    pub enum Period {
        Today = "today",
        Yesterday = "yesterday",
        /// From Monday to today.
        ThisWeek = "this_week",
        LastWeek = "last_week",
        ThisMonth = "this_month",
        LastMonth = "last_month",
        /// The three whole months before this month.
        Last3Months = "last_3_months",
        /// The six whole months before this month.
        Last6Months = "last_6_months",
    }
}

impl Period {
    /// The Chinese name, for prompts.
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

/// Serializes as the Chinese name, because facts are part of prompts.
impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// Runs a statement that returns facts. No row becomes [`Error::NotFound`].
async fn found<T>(row: impl Future<Output = sqlx::Result<Option<Json<T>>>> + Send) -> Result<T> {
    Ok(row
        .with_statement_timeout()
        .await?
        .ok_or(Error::NotFound)?
        .0)
}

/// First and last day of the facts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Days {
    #[serde(rename(serialize = "起始日期"))]
    first_day: NaiveDate,
    #[serde(rename(serialize = "截止日期"))]
    last_day: NaiveDate,
}
