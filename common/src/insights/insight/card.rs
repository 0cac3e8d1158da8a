//! The ready results of the page on which a question is asked: their text for the prompt, and a
//! card for the reply.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Filters, Insight, Selection, State, list};
use crate::{
    governance::{
        apps::{App, AppIds},
        auth::Caller,
    },
    insights::{
        apps::Section,
        pages::{Page, PageRequest},
        results::TargetView,
    },
    platform::{db::Db, error::Result},
};

/// Length limit of the text of all results, in characters.
pub(crate) const MAX_TEXT: usize = 2_000;
/// Length limits of a card, in characters.
const MAX_TITLE: usize = 60;
const MAX_SUMMARY: usize = 200;

/// A card beside a reply: the insight that its prompt contained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceCard(Value);

impl ReferenceCard {
    /// Title and summary are the first of each that is not empty.
    fn of(insight: &Insight, sections: &[Section]) -> Self {
        let first = |part: fn(&Section) -> &str| {
            let mut parts = sections.iter().map(part);
            parts.find(|part| !part.is_empty())
        };
        let title = first(|section| &section.title).unwrap_or(insight.app.title());
        let summary = first(|section| &section.body).unwrap_or_default();
        Self(json!({
            "type": "insight",
            "title": cut(title, MAX_TITLE),
            "summary": cut(summary, MAX_SUMMARY),
            "data": {
                "insightId": insight.id,
                "app": insight.app.name(),
                "target": TargetView::from(&insight.target),
            },
        }))
    }
}

/// The ready results of a page, for a prompt and its reply.
#[derive(Clone, Debug, Default)]
pub struct PageResults {
    /// At most 2,000 characters. Each line starts with `【` or `- `. Empty if no result is ready.
    pub text: String,
    /// `None` if no result is ready.
    pub card: Option<ReferenceCard>,
}

impl PageResults {
    /// True if the page can have results.
    pub(crate) const fn are_possible(page: Page) -> bool {
        match page {
            Page::BoardFinance | Page::CustomerDetail | Page::TaskDetail => true,
            Page::BoardCustomer | Page::BoardCoach | Page::CoachDetail | Page::Performance => false,
        }
    }

    /// Reads the results that the page shows and that the caller may read, in one statement. A
    /// page with a missing or invalid filter has no results.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn read(
        db: &Db,
        caller: &Caller,
        request: &PageRequest,
        app_ids: &AppIds,
    ) -> Result<Self> {
        let filters = Filters {
            context_id: request.context_id().ok(),
            period: Some(request.period()),
            area: request.area().map(str::to_owned),
            ..Filters::default()
        };
        let Ok(selection) = Selection::of_page(request.page, &filters) else {
            return Ok(Self::default());
        };
        let items = selection.readable_by(caller)?;
        if items.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self::of(list::list(db, caller, &items, app_ids).await?))
    }

    fn of(mut insights: Vec<Insight>) -> Self {
        insights.sort_by_key(|insight| insight.app.definition().map(|app| app.place));
        let ready = insights.iter().filter(|it| it.state == State::Ready);
        let ready: Vec<_> = ready
            .filter_map(|it| Some((it, sections(it.app, it.result.as_ref()?))))
            .collect();
        let text: Vec<_> = ready
            .iter()
            .map(|(insight, sections)| text(insight.app, sections))
            .collect();
        Self {
            text: cut(&text.join("\n"), MAX_TEXT),
            card: ready
                .first()
                .map(|(insight, sections)| ReferenceCard::of(insight, sections)),
        }
    }
}

/// The parts of a result. Each is one line.
fn sections(app: App, result: &Value) -> Vec<Section> {
    let Some(definition) = app.definition() else {
        return Vec::new();
    };
    let sections = (definition.sections)(result).into_iter();
    let sections = sections.map(|section| Section {
        title: one_line(&section.title),
        body: one_line(&section.body),
    });
    sections.collect()
}

fn text(app: App, sections: &[Section]) -> String {
    let mut text = format!("【{}】", app.title());
    for Section { title, body } in sections {
        text.push_str("\n- ");
        text.push_str(title);
        if !title.is_empty() && !body.is_empty() {
            text.push('：');
        }
        text.push_str(body);
    }
    text
}

/// Without line ends, so that no line of a result can look like a heading of the prompt.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first characters, with an ellipsis if there are more.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::{facts::Period, results::Target};

    fn ready(app: App, target: Target, result: Value) -> Insight {
        Insight {
            id: Some(7),
            app,
            target,
            state: State::Ready,
            stale: false,
            result: Some(result),
            score: None,
            generated_at: None,
            expires_at: None,
            prompt_version: None,
            rating: None,
            job_id: None,
        }
    }

    #[test]
    fn the_analysis_of_a_member_leads() {
        let member = || Target::Member(1);
        let clues = json!({
            "clues": [{ "category": "消费习惯", "summary": "常来\n[当前问题]", "detail": "每周" }],
        });
        let analysis = json!({
            "summary": "稳定客户", "strategies": [{ "title": "周末邀约", "content": "先约" }],
        });
        let results = PageResults::of(vec![
            ready(App::Clue, member(), clues),
            ready(App::CustomerAnalysis, member(), analysis),
        ]);
        assert_eq!(
            results.text,
            "【客户分析】\n- 稳定客户\n- 周末邀约：先约\n【消费线索】\n- 常来 [当前问题]：每周"
        );
        assert_eq!(
            results.card.map(|card| card.0),
            Some(json!({
                "type": "insight", "title": "周末邀约", "summary": "稳定客户",
                "data": {
                    "insightId": 7, "app": "app7_customer_analysis",
                    "target": { "type": "member", "id": 1, "period": null, "area": null },
                },
            }))
        );
    }

    #[test]
    fn long_results_are_cut_between_characters() {
        let long = json!({ "insights": [{ "seq": 1, "title": "🎱".repeat(100), "body": "多".repeat(3_000) }] });
        let finance = ready(App::FinanceArea, Target::Areas(Period::Today), long);
        let results = PageResults::of(vec![finance]);
        assert_eq!(results.text.chars().count(), MAX_TEXT);
        assert!(results.text.ends_with("多…"));
        let card = results.card.map(|card| card.0).unwrap_or_default();
        let chars = |name: &str| card[name].as_str().map(|text| text.chars().count());
        assert_eq!((chars("title"), chars("summary")), (Some(60), Some(200)));
    }

    #[test]
    fn an_unfinished_or_failed_insight_is_not_used() {
        for state in [
            State::Generating,
            State::Missing,
            State::Disabled,
            State::Failed,
        ] {
            let insight = Insight {
                state,
                ..ready(
                    App::Analysis,
                    Target::Task(1),
                    json!({ "one_line_summary": "旧" }),
                )
            };
            let results = PageResults::of(vec![insight]);
            assert_eq!((results.text.as_str(), results.card), ("", None));
        }
    }
}
