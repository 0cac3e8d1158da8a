//! Content negotiation: a list as JSON, or as a table.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header::ACCEPT, request::Parts};

/// How a client would have a list. Never refuses: who asks for anything else gets JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// A page of it.
    Json,
    /// All of it.
    Csv,
}

impl<S: Send + Sync> FromRequestParts<S> for ListFormat {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl ListFormat {
    /// CSV where it is asked for by name, and JSON is liked less, or as much and named later or not by name.
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).into_iter();
        let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        let ranges: Vec<Range<'_>> = texts
            .iter()
            .flat_map(|text| text.split(','))
            .filter_map(Range::parse)
            .collect();
        let named = |name: &str| {
            let place = ranges.iter().position(|range| range.is(name))?;
            Some((ranges[place].quality, place))
        };
        let any = |name: &str| named(name).map(|(quality, _)| (quality, usize::MAX));
        let json = named("application/json")
            .or_else(|| any("application/*"))
            .or_else(|| any("*/*"))
            .unwrap_or((0, usize::MAX));
        match named("text/csv") {
            Some((quality, place)) if quality > 0 && (quality, json.1) > (json.0, place) => {
                Self::Csv
            }
            _ => Self::Json,
        }
    }
}

/// One of what is accepted.
struct Range<'a> {
    name: &'a str,
    /// From 0 to 1000.
    quality: u16,
}

impl<'a> Range<'a> {
    /// None where the quality is not one.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next()?;
        let quality = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        Some(Self {
            name,
            quality: quality.map_or(Some(1000), thousandths)?,
        })
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// `0`, `1`, or either with up to three digits behind a point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let digits = is_number.then(|| format!("{fraction:0<3}"))?;
    match whole {
        "0" => digits.parse().ok(),
        "1" if digits == "000" => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(values: &[&str]) -> ListFormat {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        ListFormat::of(&headers)
    }

    #[test]
    fn a_table_is_for_those_who_like_it_better_than_json() {
        for accept in [
            "text/csv",
            "Text/CSV; charset=utf-8",
            "text/csv;q=0.1",
            "text/csv, application/json;q=0.9",
            "text/csv, application/json",
            "application/json;q=0.5,text/csv;q=0.501",
            "application/json;q=0,text/csv;q=0.001",
            "text/csv, */*",
            "*/*, text/csv",
            "text/csv;q=0.9, */*;q=0.8",
            "application/*, text/csv",
            "text/html;q=2, text/csv;header=present;q=1.000",
        ] {
            assert_eq!(format(&[accept]), ListFormat::Csv, "{accept}");
        }
        assert_eq!(
            format(&["text/html", "application/json;q=0.2, text/csv;q=0.3"]),
            ListFormat::Csv
        );
    }

    #[test]
    fn json_is_for_everybody_else() {
        assert_eq!(format(&[]), ListFormat::Json);
        for accept in [
            "",
            "*/*",
            "text/*",
            "application/json",
            "text/html",
            "text/csv;q=0",
            "text/csv;q=0.000, */*",
            "application/json, text/csv",
            "application/json, text/csv;q=0.9",
            "text/csv;q=0.5, */*",
            "text/csv;q=1.1",
            "text/csv;q=0.0001",
            "text/csv;q=-1",
            "text/csv;q=",
            "text/csv;q=x",
            "text/csvx",
            ";;,,=,q=1",
        ] {
            assert_eq!(format(&[accept]), ListFormat::Json, "{accept}");
        }
    }
}
