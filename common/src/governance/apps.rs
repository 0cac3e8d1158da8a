//! The registry of applications: their names, and the DashScope application ids behind them.

use std::collections::BTreeMap;

use crate::{
    dashscope::{self, DashScope},
    platform::env::{ConfigError, Env},
};

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

/// A client of DashScope, which asks nothing yet, and the configured applications.
///
/// # Errors
/// Names the variable that is missing, cannot be read, or does not fit the client.
pub async fn dashscope_from_env(env: &Env) -> Result<(DashScope, AppIds), ConfigError> {
    let config = dashscope::Config::from_env(env).await?;
    let client = DashScope::new(config).map_err(|_| ConfigError::Invalid {
        name: "DASHSCOPE_BASE_URL".to_owned(),
        expected: "an http(s) URL",
    })?;
    Ok((client, AppIds::from_env(env)))
}
