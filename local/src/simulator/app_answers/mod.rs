//! Answers of the apps that answer in JSON, made of the facts in the prompt and of nothing else.

mod clues;
mod coach;
mod finance;
mod member;

use serde_json::Value;

use super::{facts, question};

/// An app that answers in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum App {
    Finance,
    FinanceArea,
    Clue,
    Analysis,
    Tactics,
    NoteAnalysis,
    CustomerAnalysis,
    ClueConsolidated,
}

/// Parts of app ids, the telling ones first: `app8_clue_consolidated` is no `clue`.
const APPS: [(&str, App); 16] = [
    ("app8", App::ClueConsolidated),
    ("app7", App::CustomerAnalysis),
    ("app6", App::NoteAnalysis),
    ("app5", App::Tactics),
    ("app4", App::Analysis),
    ("app3", App::Clue),
    ("app2a", App::FinanceArea),
    ("app2", App::Finance),
    ("consolidated", App::ClueConsolidated),
    ("customer", App::CustomerAnalysis),
    ("note", App::NoteAnalysis),
    ("tactics", App::Tactics),
    ("finance_area", App::FinanceArea),
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
    pub fn answer(self, prompt: &str) -> Value {
        let prompt = &question::without_scenarios(prompt);
        let mut json = facts::json_in(prompt).unwrap_or_default();
        let facts = match json.get_mut("事实") {
            Some(facts) => facts.take(),
            None => json,
        };
        match self {
            Self::Finance if facts["财务"].is_null() => finance::figures(&facts::find(prompt)),
            Self::Finance => finance::insights(&facts),
            Self::FinanceArea => finance::areas(&facts),
            Self::Clue => clues::of_consumption(&facts),
            Self::Analysis => coach::analysis(&facts),
            Self::Tactics => coach::tactics(&facts),
            Self::NoteAnalysis => clues::of_note(&facts),
            Self::CustomerAnalysis => member::strategies(&facts),
            Self::ClueConsolidated => clues::consolidated(&facts),
        }
    }
}

/// A figure; zero where there is none.
fn figure(facts: &Value, label: &str) -> f64 {
    facts[label].as_f64().unwrap_or_default()
}

/// A text that says something.
fn text<'a>(facts: &'a Value, label: &str) -> Option<&'a str> {
    facts[label].as_str().filter(|text| !text.is_empty())
}

/// A list; nothing where there is none.
fn list<'a>(facts: &'a Value, label: &str) -> &'a [Value] {
    facts[label].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
