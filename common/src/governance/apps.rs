//! The applications: their names, and what each calls at DashScope.
//!
//! A row of `biz.ai_apps` decides, else the environment. `application_of.sql` reads both.

mod settings;

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

pub(crate) use settings::check_id;
pub use settings::{AppChange, AppSettings, FlowStreamMode, list, set};

use crate::{
    dashscope::{self, Call, CallOptions, DashScope},
    platform::{
        env::{ConfigError, Env},
        request_context::RequestContext,
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
    /// Why a disabled app cannot be called, for the log and the job.
    pub(crate) fn disabled(self) -> String {
        format!(
            "{} is disabled in biz.ai_apps, or neither biz.ai_apps nor {} has an application id",
            self.name(),
            self.variable()
        )
    }

    /// The environment variable of the application id: `DASHSCOPE_APP_ID_2A_FINANCE_AREA` of
    /// `app2a_finance_area`.
    pub fn variable(self) -> String {
        let name = self.name().trim_start_matches("app");
        format!("DASHSCOPE_APP_ID_{}", name.to_uppercase())
    }
}

/// Application ids from the environment, by app. A row of `biz.ai_apps` replaces them. An app
/// without an id is disabled.
#[derive(Clone, Debug, Default)]
pub struct AppIds(BTreeMap<App, String>);

impl AppIds {
    /// Reads the variable of each app.
    pub fn from_env(env: &Env) -> Self {
        let ids = App::ALL
            .into_iter()
            .filter_map(|app| Some((app, env.text(&app.variable())?.to_owned())));
        Self(ids.collect())
    }

    /// The application id, if one is configured.
    pub fn find(&self, app: App) -> Option<&str> {
        self.0.get(&app).map(String::as_str)
    }
}

/// The application that a run calls, as the SQL function returns it that begins the run.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Application {
    /// The id in the DashScope console.
    pub app_id: String,
    /// Called once if the application throttles.
    pub fallback_app_id: Option<String>,
    /// True if `app_id` is the fallback.
    pub is_fallback: bool,
    pub options: Option<CallOptions>,
    /// Replaces `DASHSCOPE_FIRST_TOKEN_SECONDS`.
    pub first_token_seconds: Option<u64>,
    /// Most calls in a second. `None`: the limit of DashScope.
    pub max_per_second: Option<i32>,
}

impl Application {
    /// A call for `app`, without prompt and context.
    pub fn call(&self, app: App) -> Call {
        Call {
            app: app.name(),
            app_id: self.app_id.clone(),
            options: self.options.clone().unwrap_or_default(),
            has_fallback: self.fallback_app_id.is_some(),
            first_token: self.first_token_seconds.map(Duration::from_secs),
            trace: RequestContext::current().trace_value(),
            ..Call::default()
        }
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
