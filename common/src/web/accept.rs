//! Content negotiation: JSON or CSV for a list.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{header::ACCEPT, request::Parts};

/// The format of a list, from the `Accept` header. The default is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// One page.
    Json,
    /// The whole list.
    Csv,
}

impl<S: Send + Sync> FromRequestParts<S> for ListFormat {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let accept = parts.headers.get(ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let is_csv = accept.is_some_and(prefers_csv);
        Ok(if is_csv { Self::Csv } else { Self::Json })
    }
}

/// True if the header names `text/csv` with the highest quality.
///
/// With equal qualities, the first name wins, and a name wins over `*/*`. `*/*` counts as JSON.
fn prefers_csv(accept: &str) -> bool {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality: f32 = quality.unwrap_or("1").parse().ok()?;
        matches!(&*name, "text/csv" | "application/json" | "*/*").then_some((quality, name))
    });
    // `max_by` returns the last of several that are equal.
    let best = ranges.rev().max_by(|(a, x), (b, y)| {
        let by_name = (x != "*/*").cmp(&(y != "*/*"));
        a.total_cmp(b).then(by_name)
    });
    best.is_some_and(|(quality, name)| quality > 0.0 && name == "text/csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_for_clients_that_prefer_it_to_json() {
        for accept in [
            "text/csv",
            "Text/CSV; charset=utf-8",
            "text/csv, application/json;q=0.9",
            "text/csv, application/json",
            "application/json;q=0.5,text/csv;q=0.501",
            "text/csv, */*",
            "*/*, text/csv",
            "text/csv;q=0.9, */*;q=0.8",
        ] {
            assert!(prefers_csv(accept), "{accept}");
        }
    }

    #[test]
    fn json_is_for_all_other_clients() {
        for accept in [
            "",
            // curl; Excel's Power Query
            "*/*",
            // Chrome
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            // axios
            "application/json, text/plain, */*",
            "application/json, text/csv",
            "application/json, text/csv;q=0.9",
            "text/csv;q=0.5, */*",
            "text/csv;q=0",
            "text/csv;q=0.000, */*",
            "text/csv;q=x",
            "text/csvx",
            ";;,,=,q=1",
        ] {
            assert!(!prefers_csv(accept), "{accept}");
        }
    }
}
