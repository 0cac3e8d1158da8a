//! The version of this build.

use std::sync::LazyLock;

/// The version of the package, such as `0.1.0`.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// `PARLOR_COMMIT` of the build. A build script that asks Git would compile everything again after
/// each commit.
const COMMIT: Option<&str> = option_env!("PARLOR_COMMIT");

/// Characters of the commit that are shown.
const COMMIT_LENGTH: usize = 12;

static TEXT: LazyLock<String> = LazyLock::new(|| text_of(commit()));

/// The commit, if the build knew it.
pub fn commit() -> Option<&'static str> {
    COMMIT.filter(|commit| !commit.is_empty())
}

/// The version as people see it: `0.1.0`, or `0.1.0 (bdad97c3f0e1)` if the commit is known.
pub fn text() -> &'static str {
    &TEXT
}

fn text_of(commit: Option<&str>) -> String {
    commit.map_or(NUMBER.to_owned(), |commit| {
        let short: String = commit.chars().take(COMMIT_LENGTH).collect();
        format!("{NUMBER} ({short})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_shown_if_it_is_known() {
        let text = text_of(Some("bdad97c3f0e1a2b3c4"));
        assert_eq!(text, format!("{NUMBER} (bdad97c3f0e1)"));
        assert_eq!(text_of(None), NUMBER);
    }
}
