//! app2: insights into the finance of a site, for all areas or one.

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

use super::{
    Definition, TargetKind, Validity,
    answer::{self, BadAnswer, Section, filled},
    prompt::{Prompt, Reference},
    sources::{Sources, wrong_target},
};
use crate::{
    governance::apps::App,
    insights::{
        facts::{self, FinanceFacts, Period},
        results::Target,
    },
    platform::error::Result,
};

pub(super) const DEFINITION: Definition = Definition {
    app: App::Finance,
    title: "经营洞察",
    target: TargetKind::PeriodAndArea,
    validity: Validity::Day,
    in_batches: false,
    prompt_version: "app2_finance/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 1,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.of(&Written {
        period: facts.period,
        area: facts.area.unwrap_or("全部区域"),
        finance: facts.finance,
    })
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let Target::Filter { period, area } = sources.target else {
        return Err(wrong_target());
    };
    let (finance, references) = tokio::try_join!(
        facts::finance(sources.db, sources.site_id, *period, area.as_deref()),
        sources.references(),
    )?;
    let facts = Facts {
        period: *period,
        area: area.as_deref(),
        finance: &finance,
    };
    Ok(prompt(&facts, &references))
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

    fn sections(&self) -> Vec<Section> {
        let insights = self.insights.iter();
        insights
            .map(|insight| Section::new(&insight.title, &insight.body))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::insights::apps::samples;

    #[test]
    fn a_changed_wording_needs_a_new_version_and_snapshot() {
        let facts = Facts {
            period: Period::ThisMonth,
            area: Some("大厅"),
            finance: &samples::finance(false),
        };
        assert_snapshot!("app2_finance", prompt(&facts, &samples::references(1)));
    }
}
