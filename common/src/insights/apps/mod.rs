//! Prompts and answers of the DashScope applications, one module each.
//!
//! The chat returns text. The others return JSON, which [`check`] parses and checks.

mod answer;
pub mod app1_chat;
pub mod app2_finance;
pub mod app2a_finance_area;
pub mod app3_clue;
pub mod app4_analysis;
pub mod app5_tactics;
pub mod app6_note_analysis;
pub mod app7_customer_analysis;
pub mod app8_clue_consolidated;
mod prompt;
#[cfg(test)]
mod samples;

pub use answer::{BadAnswer, Checked, check};
pub(crate) use prompt::MAX_PROMPT_CHARS;
pub use prompt::Reference;

use crate::governance::apps::App;

/// How long a result is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until the end of the site's day.
    Day,
    /// This number of days from its completion.
    Days(i32),
}

impl App {
    /// Stored in the run log, so that reports can compare versions of the prompt.
    pub const fn prompt_version(self) -> &'static str {
        match self {
            Self::Chat => app1_chat::PROMPT_VERSION,
            Self::Finance => app2_finance::PROMPT_VERSION,
            Self::FinanceArea => app2a_finance_area::PROMPT_VERSION,
            Self::Clue => app3_clue::PROMPT_VERSION,
            Self::Analysis => app4_analysis::PROMPT_VERSION,
            Self::Tactics => app5_tactics::PROMPT_VERSION,
            Self::NoteAnalysis => app6_note_analysis::PROMPT_VERSION,
            Self::CustomerAnalysis => app7_customer_analysis::PROMPT_VERSION,
            Self::ClueConsolidated => app8_clue_consolidated::PROMPT_VERSION,
        }
    }

    /// How long results are valid. `None` for the chat, whose answers belong to a conversation.
    pub const fn validity(self) -> Option<Validity> {
        match self {
            Self::Chat => None,
            Self::Finance | Self::FinanceArea => Some(Validity::Day),
            Self::NoteAnalysis => Some(Validity::Days(30)),
            Self::Clue
            | Self::Analysis
            | Self::Tactics
            | Self::CustomerAnalysis
            | Self::ClueConsolidated => Some(Validity::Days(7)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_prompt_versions_of_apps_are_consistent() {
        for app in App::ALL {
            assert_eq!(App::parse(app.name()), Some(app));
            let version = app.prompt_version().split_once('/').unwrap();
            assert_eq!(version.0, app.name());
            assert!(version.1.parse::<u32>().is_ok());
        }
        assert_eq!(App::parse("app9"), None);
    }
}
