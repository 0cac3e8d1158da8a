//! What the frame of every page needs.

use common::platform::version;
use http::HeaderMap;

use crate::{assets, language::Language, texts::CommonTexts};

/// The language, the texts and the links of the frame.
pub(crate) struct Frame {
    pub language: Language,
    pub common: &'static CommonTexts,
    /// The folder of the assets.
    pub assets: &'static str,
    /// The relative path from the page to `/console`, with which links begin.
    pub root: String,
    /// Of the build, for the footer.
    pub version: &'static str,
}

impl Frame {
    /// The frame of the page at a path.
    pub fn of(headers: &HeaderMap, path: &str) -> Self {
        let language = Language::of(headers);
        Self {
            language,
            common: CommonTexts::of(language),
            assets: assets::hash(),
            root: root(path),
            version: version::text(),
        }
    }
}

/// The path below `/console`, such as `/runs/7`. Empty for the dashboard.
pub(crate) fn below_console(path: &str) -> &str {
    path.split_once("/console").map_or("", |(_, rest)| rest)
}

/// The relative path from a page to `/console`, with which its links begin.
pub(crate) fn root(path: &str) -> String {
    match below_console(path).matches('/').count() {
        0 => "console".to_owned(),
        1 => ".".to_owned(),
        depth => vec![".."; depth - 1].join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_begin_at_the_console_on_every_level() {
        assert_eq!(root("/console"), "console");
        assert_eq!(root("/console/runs"), ".");
        assert_eq!(root("/console/runs/7"), "..");
        assert_eq!(root("/console/jobs/7/retry"), "../..");
    }
}
