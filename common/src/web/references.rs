//! The JSON of cited documents.

use serde::Serialize;
use utoipa::ToSchema;

use crate::dashscope;

/// A document that a reply cites.
#[derive(Serialize, ToSchema)]
pub struct Reference {
    /// The number of its mark in the text: 1 for `[1]`.
    #[schema(example = 1)]
    index: u16,
    /// At most 200 characters.
    title: String,
    /// With the scheme `http` or `https`, at most 2,000 bytes.
    #[schema(required)]
    url: Option<String>,
    /// The page of the cited passage, or its first page.
    #[schema(required)]
    page: Option<u16>,
}

impl Reference {
    /// Converts all references of a reply.
    pub fn all(references: Vec<dashscope::Reference>) -> Vec<Self> {
        references.into_iter().map(Self::from).collect()
    }
}

impl From<dashscope::Reference> for Reference {
    fn from(reference: dashscope::Reference) -> Self {
        Self {
            index: reference.index,
            title: reference.title,
            url: reference.url,
            page: reference.page,
        }
    }
}
