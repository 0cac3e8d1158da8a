//! The registry of applications: their names, and the DashScope application ids behind them.

use std::collections::BTreeMap;

use crate::{
    dashscope::{self, DashScope},
    platform::{
        env::{ConfigError, Env},
        words::words,
    },
};

words! {
    /// One of the applications. Its word is its name in the database (`app_type`, `cache_type`) and
    /// in the admin API.
    #[derive(PartialOrd, Ord)]
    pub enum App {
        Chat = "app1_chat",
        /// Finance of a site, or of one area of it.
        Finance = "app2_finance",
        /// Finance of the areas of a site, compared.
        FinanceArea = "app2a_finance_area",
        /// Clues about a member, from consumption.
        Clue = "app3_clue",
        /// What a coach should do about a member.
        Analysis = "app4_analysis",
        /// What a coach may say to a member.
        Tactics = "app5_tactics",
        /// Clues about a member, from a note.
        NoteAnalysis = "app6_note_analysis",
        /// How a member is to be kept.
        CustomerAnalysis = "app7_customer_analysis",
        /// The clues of consumption and notes, in one list.
        ClueConsolidated = "app8_clue_consolidated",
    }
}

impl App {
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
