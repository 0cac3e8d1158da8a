//! The two languages of the console.

use axum::response::{IntoResponse, Response};
use common::{Error, Result, platform::error::Reason, web::FormText};
use http::{
    HeaderMap,
    header::{ACCEPT_LANGUAGE, SET_COOKIE},
};

use crate::session::{cookie_value, redirect, safe_next};

const COOKIE: &str = "parlor_language";

/// The language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Chinese,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The value of the attribute `lang`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    fn parse(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// The language that the user chose, or else the first of `Accept-Language` that exists.
    /// Chinese if there is none.
    pub fn of(headers: &HeaderMap) -> Self {
        if let Some(chosen) = cookie_value(headers, COOKIE).and_then(Self::parse) {
            return chosen;
        }
        let accepted = headers.get(ACCEPT_LANGUAGE);
        let accepted = accepted.and_then(|value| value.to_str().ok()).unwrap_or("");
        accepted
            .split(',')
            .map(str::trim_start)
            .find_map(|range| {
                let is = |tag| {
                    range
                        .get(..2)
                        .is_some_and(|start| start.eq_ignore_ascii_case(tag))
                };
                is("en")
                    .then_some(Self::English)
                    .or(is("zh").then_some(Self::Chinese))
            })
            .unwrap_or(Self::Chinese)
    }

    /// The other language, and its own name.
    pub const fn other(self) -> (Self, &'static str) {
        match self {
            Self::English => (Self::Chinese, "中文"),
            Self::Chinese => (Self::English, "English"),
        }
    }
}

/// `POST /console/language`: chooses the language for a year.
pub(crate) async fn set(form: FormText) -> Result<Response> {
    let language = form.one_of("to", Language::parse)?;
    let language = language.ok_or(Error::invalid("to", Reason::Missing))?;
    let next = safe_next(form.text("next")?);
    let cookie = format!(
        "{COOKIE}={}; Max-Age=31536000; HttpOnly; SameSite=Strict",
        language.tag()
    );
    Ok(([(SET_COOKIE, cookie)], redirect(&next)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_comes_before_the_first_accepted_language() {
        let of = |accepted: &str, cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, accepted.parse().unwrap());
            headers.insert(http::header::COOKIE, cookie.parse().unwrap());
            Language::of(&headers)
        };
        assert_eq!(of("en-US,en;q=0.9,zh", ""), Language::English);
        assert_eq!(of("fr, zh-TW", ""), Language::Chinese);
        assert_eq!(of("fr", ""), Language::Chinese);
        assert_eq!(of("zh", "a=b; parlor_language=en"), Language::English);
        assert_eq!(of("en", "parlor_language=fr"), Language::English);
    }
}
