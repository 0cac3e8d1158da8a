//! Feedback in requests and responses, the same for every kind of AI text.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json::given;
use crate::{
    governance::feedback::{Fault, Feedback, Rating},
    platform::error::{Error, Reason, Result},
};

/// The body of a request that gives feedback.
#[derive(Deserialize, ToSchema)]
pub struct FeedbackBody {
    /// `up`, `down`, or null to remove the feedback.
    #[serde(default, deserialize_with = "given")]
    #[schema(required, value_type = Option<String>)]
    #[expect(clippy::option_option, reason = "null and a missing field differ")]
    rating: Option<Option<String>>,
    /// Any of `inaccurate`, `unhelpful`, `unsafe` and `other`.
    reasons: Option<Vec<String>>,
    #[schema(max_length = 2000)]
    comment: Option<String>,
}

impl FeedbackBody {
    /// Checks the fields. `None` removes the feedback.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(self) -> Result<Option<Feedback>> {
        let rating = self
            .rating
            .ok_or(Error::invalid("rating", Reason::Missing))?;
        let reasons = self.reasons.unwrap_or_default();
        Feedback::parse(rating.as_deref(), &reasons, self.comment.as_deref())
    }
}

/// The caller's feedback on an AI text.
#[derive(Serialize, ToSchema)]
pub struct GivenFeedback {
    /// `up`, `down`, or null if there is none.
    #[schema(required)]
    rating: Option<&'static str>,
    reasons: Vec<&'static str>,
    #[schema(required)]
    comment: Option<String>,
}

impl From<Option<Feedback>> for GivenFeedback {
    fn from(feedback: Option<Feedback>) -> Self {
        let reasons = feedback.iter().flat_map(|given| &given.reasons);
        Self {
            rating: feedback.as_ref().map(|given| Rating::name(given.rating)),
            reasons: reasons.map(|fault| Fault::name(*fault)).collect(),
            comment: feedback.and_then(|given| given.comment),
        }
    }
}

/// The caller's rating of an AI text, in a list.
#[derive(Serialize, ToSchema)]
pub struct GivenRating {
    /// `up` or `down`.
    pub rating: String,
}
