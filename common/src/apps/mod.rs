//! The DashScope applications that Parlor asks, one module each.

pub mod app1_chat;

use std::collections::BTreeMap;

use crate::config::Env;

/// One of the applications. Its name is what the database and the admin API call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum App {
    /// The chat.
    Chat,
}

impl App {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Chat];

    /// As in the column `app_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "app1_chat",
        }
    }

    /// The variable that holds its application id.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Chat => "DASHSCOPE_APP_ID_1_CHAT",
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
