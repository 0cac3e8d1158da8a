//! The version of this program.

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, if `PARLOR_COMMIT` was set for the build.
pub(crate) const COMMIT: Option<&str> = option_env!("PARLOR_COMMIT");

/// Version and commit, for `--version`.
pub(crate) fn text() -> String {
    match COMMIT.filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{VERSION} ({commit})"),
        None => VERSION.to_owned(),
    }
}
