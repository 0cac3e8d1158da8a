//! HTTP as all functions speak it: what is read from a request, and how an error looks.

mod accept;
mod boundary;
mod cors;
mod face;
mod input;
mod json;
mod page;

pub use accept::ListFormat;
pub use boundary::{Deadline, RequestId, boundary, method_not_allowed, not_found};
pub use cors::{Cors, hide_rules};
pub use face::{AdminProblem, Face, Problem, SessionProblem};
pub use input::{HeaderText, PathText, QueryText, uuid};
pub use json::Json;
pub use page::AdminPage;
