//! Results of the apps that return JSON. They use only the facts in the prompt.

mod clues;
mod coach;
mod finance;
mod member;

use serde_json::Value;

use super::{facts, question};

/// An app that returns JSON.
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

/// Parts of app ids. The first match wins, so that `app8_clue_consolidated` is not `clue`.
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
    /// The app with this id. `None` for a chat app.
    pub fn of(app_id: &str) -> Option<Self> {
        APPS.iter()
            .find(|(part, _)| app_id.contains(part))
            .map(|(_, app)| *app)
    }

    /// A valid result for the prompt.
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

/// A number, or 0 if it is missing.
fn figure(facts: &Value, label: &str) -> f64 {
    facts[label].as_f64().unwrap_or_default()
}

/// A text that is not empty.
fn text<'a>(facts: &'a Value, label: &str) -> Option<&'a str> {
    facts[label].as_str().filter(|text| !text.is_empty())
}

/// A list, or an empty one if it is missing.
fn list<'a>(facts: &'a Value, label: &str) -> &'a [Value] {
    facts[label].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
