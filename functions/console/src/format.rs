//! Numbers, durations and amounts as text.

use std::fmt::Debug;

use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::language::Language;

/// An option of a filter or of a form.
pub(crate) struct Choice {
    pub value: String,
    pub text: String,
    pub is_chosen: bool,
}

/// A value of a query, encoded.
pub(crate) fn in_url(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Changes when the value changes, for forms.
pub(crate) fn version(value: &impl Debug) -> String {
    format!("{:x}", Sha256::digest(format!("{value:?}")))
}

/// A whole number with separators, such as `1,234,567`.
pub(crate) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A duration of at most some minutes, such as `850 ms` or `12.3 s`.
pub(crate) fn milliseconds(ms: i64) -> String {
    if ms < 1000 {
        format!("{ms} ms")
    } else {
        format!("{}.{} s", ms / 1000, ms % 1000 / 100)
    }
}

/// A share from 0 to 1 in per cent, with one decimal.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// The most characters of a text in a list. A page of 20 questions and answers stays below 100 kB.
const MAX_TEXT: usize = 600;

/// The beginning of a text.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why a change was refused: the page showed another number of objects than match now.
pub(crate) fn other_number(language: Language, shown: i64, matching: i64) -> String {
    let (shown, matching) = (number(shown), number(matching));
    match language {
        Language::English => {
            format!("The page showed {shown}. Now it would be {matching}. Nothing was changed.")
        }
        Language::Chinese => {
            format!("页面显示的数量是 {shown}，现在是 {matching}，未做任何修改。")
        }
    }
}

/// How long ago, or how far ahead.
pub(crate) fn distance(language: Language, distance: TimeDelta) -> String {
    let seconds = distance.num_seconds().abs();
    let (count, english, chinese) = match seconds {
        ..60 => (seconds, "s", "秒"),
        60..3600 => (seconds / 60, "min", "分钟"),
        3600..86_400 => (seconds / 3600, "h", "小时"),
        _ => (seconds / 86_400, "d", "天"),
    };
    let is_past = distance <= TimeDelta::zero();
    match (language, is_past) {
        (Language::English, true) => format!("{count} {english} ago"),
        (Language::English, false) => format!("in {count} {english}"),
        (Language::Chinese, true) => format!("{count} {chinese}前"),
        (Language::Chinese, false) => format!("{count} {chinese}后"),
    }
}

/// A value that a template passes to a filter or a method, by value or by any number of references.
pub(crate) trait Given<T> {
    /// The value.
    fn given(&self) -> T;
}

impl Given<Self> for i64 {
    fn given(&self) -> Self {
        *self
    }
}

impl Given<i64> for i32 {
    fn given(&self) -> i64 {
        (*self).into()
    }
}

impl Given<Self> for f64 {
    fn given(&self) -> Self {
        *self
    }
}

impl Given<Self> for DateTime<Utc> {
    fn given(&self) -> Self {
        *self
    }
}

impl<T, V: Given<T> + ?Sized> Given<T> for &V {
    fn given(&self) -> T {
        (**self).given()
    }
}

/// Filters of the templates.
#[expect(
    clippy::inline_always,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "what askama generates for a filter"
)]
pub(crate) mod filters {
    use std::fmt::Display;

    use askama::{Result, Values};

    use super::Given;

    /// A whole number with separators.
    #[askama::filter_fn]
    pub(crate) fn number<N: Given<i64>>(value: N, _: &dyn Values) -> Result<String> {
        Ok(super::number(value.given()))
    }

    /// A duration in milliseconds.
    #[askama::filter_fn]
    pub(crate) fn ms<N: Given<i64>>(value: N, _: &dyn Values) -> Result<String> {
        Ok(super::milliseconds(value.given()))
    }

    /// A share from 0 to 1 in per cent.
    #[askama::filter_fn]
    pub(crate) fn percent<N: Given<f64>>(value: N, _: &dyn Values) -> Result<String> {
        Ok(super::percent(value.given()))
    }

    /// The first 600 characters of a text.
    #[askama::filter_fn]
    pub(crate) fn shortened(value: &str, _: &dyn Values) -> Result<String> {
        Ok(super::shortened(value))
    }

    /// A value, or a dash if there is none.
    #[askama::filter_fn]
    pub(crate) fn or_dash<T: Display>(value: &Option<T>, _: &dyn Values) -> Result<String> {
        Ok(value.as_ref().map_or_else(|| "–".to_owned(), T::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        let written = [0, 7, 999, 1000, -1_234_567, i64::MAX].map(number);
        assert_eq!(
            written,
            [
                "0",
                "7",
                "999",
                "1,000",
                "-1,234,567",
                "9,223,372,036,854,775,807"
            ]
        );
    }

    #[test]
    fn durations_and_distances_are_short() {
        assert_eq!(
            [0, 999, 1000, 12_345].map(milliseconds),
            ["0 ms", "999 ms", "1.0 s", "12.3 s"]
        );
        let of = |seconds| distance(Language::English, TimeDelta::seconds(seconds));
        assert_eq!(
            [-5, -60, 7200, -90_000].map(of),
            ["5 s ago", "1 min ago", "in 2 h", "1 d ago"]
        );
        assert_eq!(
            distance(Language::Chinese, TimeDelta::seconds(-60)),
            "1 分钟前"
        );
    }
}
