//! Answers of the apps that answer in JSON, made of the facts in the prompt.

use fastrand::Rng;
use serde_json::{Value, json};

use super::facts::{self, Fact};

/// An app that answers in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum App {
    Finance,
    Clue,
    Analysis,
    Tactics,
    NoteAnalysis,
    CustomerAnalysis,
    ClueConsolidated,
}

/// Parts of app ids, the telling ones first: `app8_clue_consolidated` is no `clue`.
const APPS: [(&str, App); 14] = [
    ("app8", App::ClueConsolidated),
    ("app7", App::CustomerAnalysis),
    ("app6", App::NoteAnalysis),
    ("app5", App::Tactics),
    ("app4", App::Analysis),
    ("app3", App::Clue),
    ("app2", App::Finance),
    ("consolidated", App::ClueConsolidated),
    ("customer", App::CustomerAnalysis),
    ("note", App::NoteAnalysis),
    ("tactics", App::Tactics),
    ("finance", App::Finance),
    ("analysis", App::Analysis),
    ("clue", App::Clue),
];

impl App {
    /// The app that an id names, or `None` for one that chats.
    pub fn of(app_id: &str) -> Option<Self> {
        APPS.iter()
            .find(|(part, _)| app_id.contains(part))
            .map(|(_, app)| *app)
    }

    /// A valid answer.
    pub fn answer(self, prompt: &str, rng: &mut Rng) -> Value {
        let facts = facts::find(prompt);
        let name = name_in(&facts);
        match self {
            Self::Finance => json!({ "insights": insights(&facts) }),
            Self::Clue => json!({ "clues": clues(&facts, &name) }),
            Self::NoteAnalysis => {
                json!({ "score": rng.u8(5..=9), "clues": clues(&facts, &name) })
            }
            Self::ClueConsolidated => {
                let mut clues = clues(&facts, &name);
                for clue in &mut clues {
                    clue["providers"] = json!(["系统"]);
                }
                json!({ "clues": clues })
            }
            Self::Analysis => json!({
                "task_description": format!("回访{name}，了解近期到店意愿"),
                "action_suggestions": [
                    format!("今天内联系{name}，从上次到店聊起"),
                    format!("结合{}，推荐合适的时段", said(&facts)),
                    "把沟通结果写进备注",
                ],
                "one_line_summary": format!("{name}值得本周跟进：{}", said(&facts)),
            }),
            Self::Tactics => json!({ "tactics": [
                { "scenario": "微信问候", "script": format!("{name}，好久不见，最近球技有没有再进一步？") },
                { "scenario": "邀约到店", "script": format!("{name}，周五晚上给您留一张桌，七点还是八点方便？") },
            ] }),
            Self::CustomerAnalysis => json!({
                "strategies": [
                    { "title": "稳住到店频次", "content": format!("依据{}，约定固定的到店时间。", said(&facts)) },
                    { "title": "提升单次体验", "content": format!("为{name}安排熟悉的教练和球桌。") },
                ],
                "summary": format!("{name}是值得持续维护的会员。"),
            }),
        }
    }
}

fn insights(facts: &[Fact]) -> Vec<Value> {
    let figures = facts.iter().filter(|fact| fact.is_figure()).take(5);
    let mut insights: Vec<_> = figures
        .enumerate()
        .map(|(index, Fact { label, value })| {
            json!({
                "seq": index + 1,
                "title": format!("{label}：{value}"),
                "body": format!("本期{label}为{value}，建议与上期对比，留意变化的原因。"),
            })
        })
        .collect();
    if insights.is_empty() {
        insights.push(
            json!({ "seq": 1, "title": "本期数据不足", "body": "暂无可比数据，建议核对录入。" }),
        );
    }
    insights
}

fn clues(facts: &[Fact], name: &str) -> Vec<Value> {
    let categories = ["消费习惯", "到店频次", "偏好项目"];
    let figures = facts
        .iter()
        .filter(|fact| fact.is_figure())
        .take(categories.len());
    let mut clues: Vec<_> = std::iter::zip(categories, figures)
        .map(|(category, Fact { label, value })| {
            json!({
                "category": category,
                "summary": format!("{label}为{value}"),
                "detail": format!("资料显示{name}的{label}为{value}，可在回访时提起。"),
            })
        })
        .collect();
    if clues.is_empty() {
        clues.push(json!({ "category": "基础信息", "summary": format!("{name}资料较少"), "detail": "建议补充备注。" }));
    }
    clues
}

fn said(facts: &[Fact]) -> String {
    facts.iter().find(|fact| fact.is_figure()).map_or_else(
        || "现有资料".to_owned(),
        |fact| format!("{}为{}", fact.label, fact.value),
    )
}

fn name_in(facts: &[Fact]) -> String {
    let labels = ["nickname", "member_name", "name", "会员", "姓名", "昵称"];
    let named = labels
        .iter()
        .find_map(|label| facts.iter().find(|fact| fact.label == *label));
    named.map_or_else(|| "该会员".to_owned(), |fact| fact.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_known_by_their_configured_names() {
        let named = |id| App::of(id);
        assert_eq!(named("app1_chat"), None);
        assert_eq!(named("app2_finance"), Some(App::Finance));
        assert_eq!(named("app2a_finance_area"), Some(App::Finance));
        assert_eq!(named("app3_clue"), Some(App::Clue));
        assert_eq!(named("app6_note_analysis"), Some(App::NoteAnalysis));
        assert_eq!(named("app7_customer_analysis"), Some(App::CustomerAnalysis));
        assert_eq!(named("app8_clue_consolidated"), Some(App::ClueConsolidated));
    }

    #[test]
    fn insights_use_the_figures_in_the_prompt() {
        let prompt = r#"{"period": "today", "revenue": 12800.5, "orders": 42}"#;
        let answer = App::Finance.answer(prompt, &mut Rng::with_seed(1));
        let titles: Vec<_> = answer["insights"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| &i["title"])
            .collect();
        assert_eq!(titles, ["orders：42", "revenue：12800.5"]);
    }
}
