//! Documents that an answer cites.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{members, string_or_number, word};

/// References of an answer at most. Further ones are dropped.
const MAX_REFERENCES: usize = 20;
/// Titles are cut to this number of characters.
const TITLE_LENGTH: usize = 200;
/// Longer URLs are dropped, in bytes. A cut URL leads elsewhere.
const MAX_URL: usize = 2_000;

/// A document that an answer cites. Replies store it as JSON, with these names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "plain data")]
pub struct Reference {
    /// The number of its mark in the text: 1 for `[1]`.
    pub index: u16,
    pub title: String,
    /// With the scheme `http` or `https`.
    pub url: Option<String>,
    /// The page of the cited passage, or its first page.
    pub page: Option<u16>,
}

/// An item of `output.doc_references`.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    index_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    doc_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    doc_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    page_number: Option<&'a RawValue>,
}

/// References of an answer, sorted by index. A frame may repeat those of earlier frames.
#[derive(Debug, Default)]
pub(super) struct References(Vec<Reference>);

impl References {
    pub(super) fn add(&mut self, received: Vec<Reference>) {
        let known = &mut self.0;
        for reference in received {
            match known.binary_search_by_key(&reference.index, |known| known.index) {
                Ok(at) => known[at] = reference,
                Err(at) if known.len() < MAX_REFERENCES => known.insert(at, reference),
                Err(_) => {}
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[Reference] {
        &self.0
    }

    pub(super) fn into_vec(self) -> Vec<Reference> {
        self.0
    }
}

/// Parses `output.doc_references`. Skips items that are no documents.
pub(super) fn parse(raw: &RawValue) -> Vec<Reference> {
    let documents: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let documents = documents.into_iter().zip(1..=u16::MAX);
    documents
        .filter_map(|(raw, position)| reference(&members(raw).ok()?, position))
        .collect()
}

/// `None` if the document has neither a title nor a URL. `position` is its index if it has none.
fn reference(document: &Document<'_>, position: u16) -> Option<Reference> {
    let title = word(document.title, TITLE_LENGTH)
        .or_else(|| word(document.doc_name, TITLE_LENGTH))
        .unwrap_or_default();
    let url = string_or_number(document.doc_url).and_then(|url| web_url(&url));
    if title.is_empty() && url.is_none() {
        return None;
    }
    Some(Reference {
        index: number(document.index_id).unwrap_or(position),
        title,
        url,
        page: document.page_number.and_then(first_page),
    })
}

/// Another scheme, such as `javascript`, must not reach a client.
fn web_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let fits = matches!(url.scheme(), "http" | "https") && url.as_str().len() <= MAX_URL;
    fits.then(|| url.into())
}

/// The first number of a list, or a number.
fn first_page(raw: &RawValue) -> Option<u16> {
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(pages) => number(pages.first().copied()),
        Err(_) => number(Some(raw)),
    }
}

fn number(raw: Option<&RawValue>) -> Option<u16> {
    string_or_number(raw)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Vec<Reference> {
        parse(&RawValue::from_string(json.to_owned()).unwrap())
    }

    fn url(url: &str) -> Option<String> {
        parsed(&format!(r#"[{{"title":"t","doc_url":"{url}"}}]"#))
            .remove(0)
            .url
    }

    #[test]
    fn documents_are_read_leniently() {
        let reference = |index, title: &str, page| Reference {
            index,
            title: title.to_owned(),
            url: None,
            page,
        };
        assert_eq!(
            parsed(
                r#"[{"index_id":"7","title":"会员手册","doc_name":"a.pdf","page_number":[3,4]},
                    {"index_id":8,"title":"","doc_name":"a.pdf","page_number":5},
                    {"title":"b","page_number":[]}, {"index_id":"x","title":"c","images":[]},
                    {}, 7, null, {"doc_url":"ftp://example.com"}]"#
            ),
            [
                reference(7, "会员手册", Some(3)),
                reference(8, "a.pdf", Some(5)),
                reference(3, "b", None),
                reference(4, "c", None),
            ]
        );
        assert_eq!(parsed("null"), []);
        assert_eq!(parsed("{}"), []);
    }

    #[test]
    fn only_web_urls_of_bounded_length_are_kept() {
        let kept = "https://example.com/a.pdf?sign=x";
        assert_eq!(url(kept).as_deref(), Some(kept));
        assert!(url("HTTP://example.com").is_some());
        for dropped in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "//example.com",
            "a.pdf",
            "",
        ] {
            assert_eq!(url(dropped), None, "{dropped}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        assert_eq!(url(&long), None);
    }

    #[test]
    fn references_are_sorted_unique_and_bounded() {
        let numbered = |index: u16, title: &str| Reference {
            index,
            title: title.to_owned(),
            url: None,
            page: None,
        };
        let mut references = References::default();
        references.add(vec![numbered(2, "b"), numbered(1, "a")]);
        references.add(vec![numbered(1, "c")]);
        assert_eq!(references.as_slice(), [numbered(1, "c"), numbered(2, "b")]);
        references.add((3..100).map(|index| numbered(index, "x")).collect());
        assert_eq!(references.into_vec().len(), MAX_REFERENCES);
    }
}
