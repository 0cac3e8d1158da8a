//! app2a: comparison of the areas of a site.

use serde::Serialize;

pub use super::app2_finance::{Answer, Insight};
use super::prompt::{Prompt, Reference};
use crate::governance::apps::App;
use crate::insights::facts::{FinanceFacts, Period};

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app2a_finance_area/1";

const TASK: &str = "比较“事实”中各区域的营收、订单和与上一周期相比的变化，指出强弱区域并给出建议；\
    只输出 JSON：{\"insights\": [{\"seq\": 1, \"title\": \"标题\", \"body\": \"正文\"}]}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Facts<'a> {
    #[serde(rename = "周期")]
    pub period: Period,
    /// The finance facts of this period and all areas.
    #[serde(rename = "财务")]
    pub finance: &'a FinanceFacts,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::FinanceArea,
        task: TASK,
        references,
    };
    prompt.of(facts)
}
