//! The texts of the pages, in both languages.

/// Declares the texts of a page: each with its English and its Chinese form. A text without one of
/// them does not compile.
macro_rules! texts {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $english:literal / $chinese:literal),+ $(,)? }) => {
        $(#[$meta])*
        pub(crate) struct $name {
            $(pub $field: &'static str),+
        }

        $(const _: () = assert!($crate::texts::is_in_two_languages($english, $chinese));)+

        impl $name {
            /// The texts in a language.
            pub(crate) const fn of(language: $crate::language::Language) -> &'static Self {
                match language {
                    $crate::language::Language::English => &Self { $($field: $english),+ },
                    $crate::language::Language::Chinese => &Self { $($field: $chinese),+ },
                }
            }
        }
    };
}

/// True for a Chinese text beside an English one, and for an abbreviation such as `CSV`.
const fn is_in_two_languages(english: &str, chinese: &str) -> bool {
    let bytes = chinese.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii() {
            return !english.is_empty();
        }
        at += 1;
    }
    english.len() == chinese.len() && english.len() <= 4
}

mod chat;
mod dashboard;
mod frame;
mod jobs;
mod money;
mod people;
mod runs;

pub(crate) use chat::{ChatTexts, InsightTexts};
pub(crate) use dashboard::DashboardTexts;
pub(crate) use frame::{CommonTexts, ErrorTexts, SignInTexts};
pub(crate) use jobs::{AlertsTexts, BatchesTexts, JobsTexts, PrewarmTexts, ResultsTexts};
pub(crate) use money::{AppsTexts, AuditTexts, BudgetsTexts, ContextTexts, UsageTexts};
pub(crate) use people::{
    ApiKeysTexts, BotsTexts, ChannelsTexts, FeedbackTexts, ReportsTexts, UsersTexts,
};
pub(crate) use runs::RunsTexts;
