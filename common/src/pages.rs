//! The pages of the mini-program from which a question can be asked.

use serde_json::Value;

use crate::error::{Error, Reason, Result};

/// The largest page context, in bytes of JSON.
const MAX_CONTEXT: usize = 4 * 1024;

/// A page, by the name that clients give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// 财务看板.
    BoardFinance,
    /// 会员看板.
    BoardCustomer,
    /// 教练看板.
    BoardCoach,
    /// A task.
    TaskDetail,
    /// A member.
    CustomerDetail,
    /// A coach.
    CoachDetail,
    /// 业绩.
    Performance,
}

impl Page {
    const WORDS: [(&'static str, Self); 7] = [
        ("board-finance", Self::BoardFinance),
        ("board-customer", Self::BoardCustomer),
        ("board-coach", Self::BoardCoach),
        ("task-detail", Self::TaskDetail),
        ("customer-detail", Self::CustomerDetail),
        ("coach-detail", Self::CoachDetail),
        ("performance", Self::Performance),
    ];
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
        if has_nul(&context) {
            return Err(Error::invalid("pageContext", Reason::Nul));
        }
        let Some(name) = source_page else {
            return Ok(None);
        };
        let page = Page::WORDS
            .iter()
            .find(|(word, _)| *word == name)
            .ok_or(Error::invalid("sourcePage", Reason::Unknown))?
            .1;
        Ok(Some(Self { page, context }))
    }
}

/// Whether a NUL stands in any text or name of a value. Its JSON cannot tell: there an
/// escaped NUL and the six characters of an escape look much alike.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
mod properties;
