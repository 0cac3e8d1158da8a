//! The DashScope applications, one module each: what Parlor sends, and what it accepts.
//!
//! The chat returns text. The others are asked in the background and return JSON. The module of
//! such an app has its [`Definition`], and `BACKGROUND` lists them. Everything else about an app
//! is derived from its definition (docs/adding-an-app.md).

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
mod sources;

use futures_util::future::BoxFuture;
use serde_json::Value;

pub use answer::{BadAnswer, Checked, Section, check};
pub(crate) use prompt::MAX_PROMPT_CHARS;
pub use prompt::Reference;
pub(crate) use sources::Sources;

use crate::{governance::apps::App, platform::error::Result};

/// The apps that are asked in the background. Each is after the ones whose results it reads,
/// because batches ask them in this order.
static BACKGROUND: &[Definition] = &[
    app2_finance::DEFINITION,
    app2a_finance_area::DEFINITION,
    app3_clue::DEFINITION,
    app6_note_analysis::DEFINITION,
    app8_clue_consolidated::DEFINITION,
    app7_customer_analysis::DEFINITION,
    app4_analysis::DEFINITION,
    app5_tactics::DEFINITION,
];

const _: () = assert!(
    BACKGROUND.len() + 1 == App::ALL.len(),
    "each app except the chat needs its definition in BACKGROUND"
);

/// An app that is asked in the background.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name.
    pub app: App,
    title: &'static str,
    /// What its results are about.
    pub target: TargetKind,
    /// How long its results are valid.
    pub validity: Validity,
    /// True if admins may request it for many members. The prompt may then need only a member.
    pub(crate) in_batches: bool,
    /// The app and a number, which must change with the wording of the prompt.
    prompt_version: &'static str,
    /// The instructions. They end with `只输出 JSON：` and an example of the answer.
    task: &'static str,
    /// Reads the input of the prompt, and returns the prompt.
    pub(crate) read_prompt: for<'a> fn(Sources<'a>) -> BoxFuture<'a, Result<String>>,
    check: fn(&str) -> Result<Checked, BadAnswer>,
    /// Reads a stored result as text.
    pub(crate) sections: fn(&Value) -> Vec<Section>,
    /// Its place among the results of a page. The first one that is ready is on the card of a
    /// reply.
    pub(crate) place: u8,
}

impl Definition {
    /// An example of the answer, as JSON, from the instructions.
    pub fn example(&self) -> &'static str {
        self.task
            .split_once("只输出 JSON：")
            .map_or("", |(_, example)| example)
    }
}

/// What the results of an app are about. A job and a client name the target in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A member.
    Member,
    /// A task if there is one, else a member.
    MemberOrTask,
    /// A note.
    Note,
    /// A period and an area, or all areas together.
    PeriodAndArea,
    /// A period.
    Period,
}

/// How long a result is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until the end of the site's day.
    Day,
    /// This number of days from its completion.
    Days(i32),
}

/// The apps whose results are stored: all except the chat. Each is after the ones whose results it
/// reads.
pub fn background() -> impl Iterator<Item = App> {
    BACKGROUND.iter().map(|definition| definition.app)
}

/// The background app with this name.
pub fn find_background(name: &str) -> Option<App> {
    background().find(|app| app.name() == name)
}

/// The apps that admins may request for many members, in the order in which they are asked.
pub fn in_batches() -> impl Iterator<Item = App> {
    let apps = BACKGROUND.iter().filter(|definition| definition.in_batches);
    apps.map(|definition| definition.app)
}

impl App {
    /// `None` for the chat.
    pub fn definition(self) -> Option<&'static Definition> {
        BACKGROUND.iter().find(|definition| definition.app == self)
    }

    /// The name for users.
    pub fn title(self) -> &'static str {
        self.definition()
            .map_or(app1_chat::TITLE, |definition| definition.title)
    }

    /// Stored in the run log, so that reports can compare versions of the prompt.
    pub fn prompt_version(self) -> &'static str {
        self.definition()
            .map_or(app1_chat::PROMPT_VERSION, |definition| {
                definition.prompt_version
            })
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

    #[test]
    fn each_app_except_the_chat_has_one_definition() {
        for app in App::ALL {
            let definitions = background().filter(|defined| *defined == app).count();
            assert_eq!(definitions, usize::from(app != App::Chat), "{app:?}");
        }
    }

    #[test]
    fn batches_need_only_a_member() {
        for app in in_batches() {
            let target = app.definition().unwrap().target;
            assert!(
                matches!(target, TargetKind::Member | TargetKind::MemberOrTask),
                "{app:?}"
            );
        }
    }
}
