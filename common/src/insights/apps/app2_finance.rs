//! app2: insights into the finance of a site, for all areas or one.

use serde::{Deserialize, Serialize};

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference},
};
use crate::governance::apps::App;
use crate::insights::facts::{FinanceFacts, Period};

/// Must change with the wording of the prompt.
pub const PROMPT_VERSION: &str = "app2_finance/1";

const TASK: &str = "根据“事实”中的财务数据分析本期经营情况，指出变化及其可能的原因，并给出建议；\
    只输出 JSON：{\"insights\": [{\"seq\": 1, \"title\": \"标题\", \"body\": \"正文\"}]}";

/// Input of the prompt.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "plain data")]
pub struct Facts<'a> {
    pub period: Period,
    /// `None` means all areas.
    pub area: Option<&'a str>,
    /// The finance facts of this period and area.
    pub finance: &'a FinanceFacts,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "周期")]
    period: Period,
    #[serde(rename = "区域")]
    area: &'a str,
    #[serde(rename = "财务")]
    finance: &'a FinanceFacts,
}

/// The prompt with the facts as JSON, at most `MAX_PROMPT_CHARS` long.
pub fn prompt(facts: &Facts<'_>, references: &[Reference]) -> String {
    let prompt = Prompt {
        app: App::Finance,
        task: TASK,
        references,
    };
    prompt.of(&Written {
        period: facts.period,
        area: facts.area.unwrap_or("全部区域"),
        finance: facts.finance,
    })
}

/// The answer of the application.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// In display order.
    pub insights: Vec<Insight>,
}

/// One insight.
#[derive(Clone, Debug, Deserialize)]
pub struct Insight {
    /// Position in the list, from 1.
    pub seq: i64,
    /// One line of text.
    pub title: String,
    /// A paragraph of text.
    pub body: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("insights", &self.insights)
    }
}
