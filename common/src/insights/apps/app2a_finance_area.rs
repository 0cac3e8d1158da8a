//! The areas of a site compared.

use serde::Serialize;

pub use super::app2_finance::{Answer, Insight};
use super::prompt::{Prompt, Reference};
use crate::governance::apps::App;
use crate::insights::facts::{FinanceFacts, Period};

/// Changes with the wording.
pub const PROMPT_VERSION: &str = "app2a_finance_area/1";

const TASK: &str = "比较“事实”中各区域的营收、订单和与上一周期相比的变化，指出强弱区域并给出建议；\
    只输出 JSON：{\"insights\": [{\"seq\": 1, \"title\": \"标题\", \"body\": \"正文\"}]}";

/// What the prompt is made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Facts<'a> {
    /// Which days.
    #[serde(rename = "周期")]
    pub period: Period,
    /// Of that period and all areas.
    #[serde(rename = "财务")]
    pub finance: &'a FinanceFacts,
}

/// Facts as JSON, within bounds.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::FinanceArea,
        task: TASK,
        references,
    };
    prompt.of(facts)
}
