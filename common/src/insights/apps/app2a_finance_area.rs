//! app2a: comparison of the areas of a site.

use futures_util::FutureExt as _;
use serde::Serialize;

pub use super::app2_finance::{Answer, Insight};
use super::{
    Definition, TargetKind, Validity, answer,
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
    app: App::FinanceArea,
    title: "区域对比",
    target: TargetKind::Period,
    validity: Validity::Day,
    in_batches: false,
    prompt_version: "app2a_finance_area/1",
    task: TASK,
    read_prompt: |sources| read_prompt(sources).boxed(),
    check: answer::read::<Answer>,
    sections: answer::sections::<Answer>,
    place: 2,
};

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
    let prompt = Prompt::new(&DEFINITION, references);
    prompt.of(facts)
}

/// Reads the input of the prompt.
async fn read_prompt(sources: Sources<'_>) -> Result<String> {
    let Target::Areas(period) = *sources.target else {
        return Err(wrong_target());
    };
    let (finance, references) = tokio::try_join!(
        facts::finance(sources.db, sources.site_id, period, None),
        sources.references(),
    )?;
    let facts = Facts {
        period,
        finance: &finance,
    };
    Ok(prompt(&facts, &references))
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
            finance: &samples::finance(true),
        };
        assert_snapshot!("app2a_finance_area", prompt(&facts, &[]));
    }
}
