//! HTTP for all functions: reading requests, and writing responses and errors.

mod accept;
mod admin_lists;
mod app_words;
mod boundary;
mod cors;
mod error_response;
mod etag;
mod extractors;
mod failures;
mod feedback;
mod form;
mod json;
mod keys;
mod paging;
mod query;
mod references;
pub mod table;
mod tables;
mod viewer;

pub use accept::ListFormat;
pub use admin_lists::alert_group;
pub use app_words::{AnyApp, AppInBatches, AppWithResults};
pub use boundary::{RenderedError, RequestId, boundary, method_not_allowed, not_found};
pub use cors::{AllowedOrigins, Cors, hide_rules};
pub use error_response::{CONTENT_BLOCKED, ErrorFormat, ErrorInWords};
pub use etag::{IfMatch, Versioned, etag_of, json_with_etag, json_with_version};
pub use extractors::{ReadAccess, ScopeAndActor, Texts};
pub use failures::{
    AdminProblem, BodyFailures, ErrorBody, Failures, ItemFailures, Problem, QueryFailures,
    SessionProblem, error_schemas,
};
pub use feedback::{FeedbackBody, GivenFeedback, GivenRating};
pub use form::FormText;
pub use json::{Json, given};
pub use keys::{JobsWrite, KeyAccess, OrKey, RouteScope, UsageRead};
pub use paging::AdminPage;
pub use query::{HeaderText, PathText, QueryText, uuid};
pub use references::Reference;
pub use tables::{LabelledFeedback, audit_as_csv, runs_as_csv};
pub use viewer::hide as hide_texts;
