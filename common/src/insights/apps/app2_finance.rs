//! Insights into the finance of a site, of all its areas or of one.

use serde::{Deserialize, Serialize};

use super::{
    answer::{self, BadAnswer, filled},
    prompt::{Prompt, Reference},
};
use crate::governance::apps::App;
use crate::insights::facts::{FinanceFacts, Period};

/// Changes with the wording.
pub const PROMPT_VERSION: &str = "app2_finance/1";

const TASK: &str = "根据“事实”中的财务数据分析本期经营情况，指出变化及其可能的原因，并给出建议；\
    只输出 JSON：{\"insights\": [{\"seq\": 1, \"title\": \"标题\", \"body\": \"正文\"}]}";

/// What the prompt is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Which days.
    pub period: Period,
    /// `None` for all of them.
    pub area: Option<&'a str>,
    /// Of that period and area.
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

/// Facts as JSON, within bounds.
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

/// What the app answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// In the order in which they are to be shown.
    pub insights: Vec<Insight>,
}

/// One observation.
#[derive(Clone, Debug, Deserialize)]
pub struct Insight {
    /// Its number, from 1.
    pub seq: i64,
    /// One line.
    pub title: String,
    /// A paragraph.
    pub body: String,
}

impl answer::Answer for Answer {
    fn check(&self) -> Result<(), BadAnswer> {
        filled("insights", &self.insights)
    }
}
