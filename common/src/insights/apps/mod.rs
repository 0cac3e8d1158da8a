//! The DashScope applications that Parlor asks, one module each.
//!
//! The chat answers in text. The others answer in JSON, which [`check`] reads.

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

use std::collections::BTreeMap;

pub use answer::{BadAnswer, Checked, check};
pub use prompt::Reference;

use crate::config::Env;

/// One of the applications. Its name is what the database and the admin API call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum App {
    /// The chat.
    Chat,
    /// Insights into the finance of a site, or of an area of it.
    Finance,
    /// The areas of a site compared.
    FinanceArea,
    /// What a member's consumption tells of the member.
    Clue,
    /// What a coach should do about a member.
    Analysis,
    /// What a coach may say to a member.
    Tactics,
    /// What a note tells of a member.
    NoteAnalysis,
    /// How a member is to be kept.
    CustomerAnalysis,
    /// The clues of consumption and notes, made one list.
    ClueConsolidated,
}

/// How long an answer may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until the site's day is over.
    Day,
    /// So many days from when it was made.
    Days(i32),
}

impl App {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Chat,
        Self::Finance,
        Self::FinanceArea,
        Self::Clue,
        Self::Analysis,
        Self::Tactics,
        Self::NoteAnalysis,
        Self::CustomerAnalysis,
        Self::ClueConsolidated,
    ];

    /// As in the column `app_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "app1_chat",
            Self::Finance => "app2_finance",
            Self::FinanceArea => "app2a_finance_area",
            Self::Clue => "app3_clue",
            Self::Analysis => "app4_analysis",
            Self::Tactics => "app5_tactics",
            Self::NoteAnalysis => "app6_note_analysis",
            Self::CustomerAnalysis => "app7_customer_analysis",
            Self::ClueConsolidated => "app8_clue_consolidated",
        }
    }

    /// The app of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|app| app.name() == name)
    }

    /// The variable that holds its application id.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Chat => "DASHSCOPE_APP_ID_1_CHAT",
            Self::Finance => "DASHSCOPE_APP_ID_2_FINANCE",
            Self::FinanceArea => "DASHSCOPE_APP_ID_2A_FINANCE_AREA",
            Self::Clue => "DASHSCOPE_APP_ID_3_CLUE",
            Self::Analysis => "DASHSCOPE_APP_ID_4_ANALYSIS",
            Self::Tactics => "DASHSCOPE_APP_ID_5_TACTICS",
            Self::NoteAnalysis => "DASHSCOPE_APP_ID_6_NOTE_ANALYSIS",
            Self::CustomerAnalysis => "DASHSCOPE_APP_ID_7_CUSTOMER_ANALYSIS",
            Self::ClueConsolidated => "DASHSCOPE_APP_ID_8_CLUE_CONSOLIDATED",
        }
    }

    /// Goes into the run log, so that a change of wording can be told in the figures.
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

    /// How long its answers may be shown; none of the chat's, which belong to their conversation.
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

/// Application ids by app. One that is missing disables its app, not the system.
#[derive(Clone, Debug, Default)]
pub struct AppIds(BTreeMap<App, String>);

impl AppIds {
    /// Reads each app's variable.
    pub fn from_env(env: &Env) -> Self {
        let ids = App::ALL
            .into_iter()
            .filter_map(|app| Some((app, env.text(app.variable())?.to_owned())));
        Self(ids.collect())
    }

    /// The application id, if one is configured.
    pub fn find(&self, app: App) -> Option<&str> {
        self.0.get(&app).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_found_by_its_name_and_told_by_its_version() {
        for app in App::ALL {
            assert_eq!(App::parse(app.name()), Some(app));
            let version = app.prompt_version().split_once('/').unwrap();
            assert_eq!(version.0, app.name());
            assert!(version.1.parse::<u32>().is_ok());
        }
        assert_eq!(App::parse("app9"), None);
    }
}
