//! HTTP for all functions: reading requests, and writing responses and errors.

mod accept;
mod admin_lists;
mod ai_label;
mod boundary;
mod cors;
mod error_response;
mod etag;
mod extractors;
mod failures;
mod feedback;
mod json;
mod paging;
mod query;
mod references;

pub use accept::ListFormat;
pub use admin_lists::alert_group;
pub use ai_label::AI_LABEL;
pub use boundary::{Deadline, RequestId, boundary, method_not_allowed, not_found};
pub use cors::{Cors, hide_rules};
pub use error_response::{CONTENT_BLOCKED, ErrorFormat};
pub use etag::{IfMatch, json_with_etag};
pub use failures::{
    AdminProblem, BodyFailures, ErrorBody, Failures, ItemFailures, Problem, QueryFailures,
    SessionProblem, error_schemas,
};
pub use feedback::{FeedbackBody, GivenFeedback};
pub use json::{Json, given};
pub use paging::AdminPage;
pub use query::{HeaderText, PathText, QueryText, uuid};
pub use references::Reference;
