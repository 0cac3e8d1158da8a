//! The applications: their names, and their application ids at DashScope.

use std::collections::BTreeMap;

use crate::{
    dashscope::{self, DashScope},
    platform::{
        env::{ConfigError, Env},
        words::words,
    },
};

words! {
    /// An application. Its word is used in the database (`app_type`, `cache_type`) and in the
    /// admin API.
    #[derive(PartialOrd, Ord)]
    pub enum App {
        Chat = "app1_chat",
        /// Finance of a site or of one of its areas.
        Finance = "app2_finance",
        /// Compares the finances of a site's areas.
        FinanceArea = "app2a_finance_area",
        /// Clues about a member, from the member's consumption.
        Clue = "app3_clue",
        /// What a coach should do about a member.
        Analysis = "app4_analysis",
        /// What a coach may say to a member.
        Tactics = "app5_tactics",
        /// Clues about a member, from a note.
        NoteAnalysis = "app6_note_analysis",
        /// How to retain a member.
        CustomerAnalysis = "app7_customer_analysis",
        /// The clues from consumption and from notes, merged into one list.
        ClueConsolidated = "app8_clue_consolidated",
    }
}

impl App {
    /// The environment variable of the application id.
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

/// Application ids by app. A missing id disables only that app.
#[derive(Clone, Debug, Default)]
pub struct AppIds(BTreeMap<App, String>);

impl AppIds {
    /// Reads the variable of each app.
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

/// Creates the DashScope client and reads the application ids. Sends no request.
///
/// # Errors
/// Names the variable that is missing, cannot be read, or is invalid.
pub async fn dashscope_from_env(env: &Env) -> Result<(DashScope, AppIds), ConfigError> {
    let config = dashscope::Config::from_env(env).await?;
    let client = DashScope::new(config).map_err(|_| ConfigError::Invalid {
        name: "DASHSCOPE_BASE_URL".to_owned(),
        expected: "an http(s) URL",
    })?;
    Ok((client, AppIds::from_env(env)))
}
