//! Results of the apps that return JSON. They use only the facts in the prompt.

mod clues;
mod coach;
mod finance;
mod member;

use serde_json::Value;

use super::{facts, question};

/// An app that returns JSON.
#[derive(Clone, Copy)]
pub(super) struct App {
    /// An application with this part in its id is the app.
    number: &'static str,
    /// An application without any app's number in its id, but with this word, is the app.
    word: &'static str,
    /// The answer from the facts in a prompt, and from the prompt.
    answer: fn(&Value, &str) -> Value,
}

/// The first match wins, so that `app2a_finance_area` is not app2.
const APPS: &[App] = &[
    App {
        number: "app8",
        word: "consolidated",
        answer: |facts, _| clues::consolidated(facts),
    },
    App {
        number: "app7",
        word: "customer",
        answer: |facts, _| member::strategies(facts),
    },
    App {
        number: "app6",
        word: "note",
        answer: |facts, _| clues::of_note(facts),
    },
    App {
        number: "app5",
        word: "tactics",
        answer: |facts, _| coach::tactics(facts),
    },
    App {
        number: "app2a",
        word: "finance_area",
        answer: |facts, _| finance::areas(facts),
    },
    App {
        number: "app2",
        word: "finance",
        answer: |facts, prompt| match &facts["财务"] {
            Value::Null => finance::figures(&facts::find(prompt)),
            _ => finance::insights(facts),
        },
    },
    App {
        number: "app4",
        word: "analysis",
        answer: |facts, _| coach::analysis(facts),
    },
    App {
        number: "app3",
        word: "clue",
        answer: |facts, _| clues::of_consumption(facts),
    },
];

impl App {
    /// The app with this id. `None` for a chat app.
    pub fn of(app_id: &str) -> Option<Self> {
        let by_number = APPS.iter().find(|app| app_id.contains(app.number));
        let by_word = || APPS.iter().find(|app| app_id.contains(app.word));
        by_number.or_else(by_word).copied()
    }

    /// A valid result for the prompt.
    pub fn answer(self, prompt: &str) -> Value {
        let prompt = &question::without_scenarios(prompt);
        let mut json = facts::json_in(prompt).unwrap_or_default();
        let facts = match json.get_mut("事实") {
            Some(facts) => facts.take(),
            None => json,
        };
        (self.answer)(&facts, prompt)
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
