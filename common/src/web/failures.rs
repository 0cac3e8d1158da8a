//! Error responses in the OpenAPI document.
//!
//! A handler names one of four sets, depending on its parameters, with the error body of its API:
//! `responses((status = 200, body = RunDetails), ItemFailures<AdminProblem>)`. A status that only
//! one route returns is listed next to the set.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema},
};

/// The error body of the mini-program API.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    non_snake_case,
    reason = "it only describes the body in the OpenAPI document"
)]
pub struct Problem {
    /// A message for users, in Chinese.
    detail: String,
    /// A stable code for programs.
    code: String,
    /// The request id, also in the header `x-request-id` and in the log.
    requestId: String,
    /// The invalid field.
    field: Option<String>,
    /// The reply in progress.
    messageId: Option<i64>,
    /// The quota that is used up.
    #[schema(inline)]
    quota: Option<ProblemQuota>,
    /// Seconds to wait before a retry.
    retryAfter: Option<i32>,
}

#[derive(ToSchema)]
#[expect(
    dead_code,
    non_snake_case,
    reason = "it only describes the body in the OpenAPI document"
)]
struct ProblemQuota {
    /// `user`, `role` or `bot`.
    subjectType: String,
    subjectId: String,
    /// `day` or `month`.
    period: String,
}

/// The error body of the admin API.
#[derive(ToSchema)]
#[schema(as = AdminProblem)]
#[expect(
    dead_code,
    reason = "it only describes the body in the OpenAPI document"
)]
pub struct AdminProblem {
    /// A message for users, in Chinese.
    detail: String,
    /// A stable code for programs.
    code: String,
    /// The request id, also in the header `x-request-id` and in the log.
    request_id: String,
    /// The invalid field.
    field: Option<String>,
    /// The number of jobs that match, if it is not the expected one.
    matching: Option<i64>,
    /// Seconds to wait before a retry.
    retry_after: Option<i32>,
}

#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it only describes the body in the OpenAPI document"
)]
struct SessionProblemQuota {
    /// `user`, `role` or `bot`.
    subject_type: String,
    subject_id: String,
    /// `day` or `month`.
    period: String,
}

/// The error body of the session API.
#[derive(ToSchema)]
#[schema(as = SessionProblem)]
#[expect(
    dead_code,
    reason = "it only describes the body in the OpenAPI document"
)]
pub struct SessionProblem {
    /// A message for users, in English.
    error: String,
    /// A stable code for programs.
    code: String,
    /// The request id, also in the header `x-request-id` and in the log.
    request_id: String,
    /// The invalid field.
    field: Option<String>,
    /// The quota that is used up.
    #[schema(inline)]
    quota: Option<SessionProblemQuota>,
    /// Seconds to wait before a retry.
    retry_after: Option<i32>,
}

/// The error body of an API.
pub trait ErrorBody: ToSchema {
    /// The status for an invalid parameter or field.
    const INVALID: u16;
}

impl ErrorBody for Problem {
    const INVALID: u16 = 422;
}

impl ErrorBody for AdminProblem {
    const INVALID: u16 = 422;
}

impl ErrorBody for SessionProblem {
    const INVALID: u16 = 400;
}

/// Errors of a route without parameters.
pub struct Failures<B>(PhantomData<B>);

/// Errors of a route with query parameters, such as a list with filters.
pub struct QueryFailures<B>(PhantomData<B>);

/// Errors of a route about one item or one site, which may not exist.
pub struct ItemFailures<B>(PhantomData<B>);

/// Errors of a route with a JSON body.
pub struct BodyFailures<B>(PhantomData<B>);

type Responses = BTreeMap<String, RefOr<Response>>;

impl<B: ErrorBody> IntoResponses for Failures<B> {
    fn responses() -> Responses {
        failures::<B>(&[401, 403, 503])
    }
}

impl<B: ErrorBody> IntoResponses for QueryFailures<B> {
    fn responses() -> Responses {
        failures::<B>(&[401, 403, B::INVALID, 503])
    }
}

impl<B: ErrorBody> IntoResponses for ItemFailures<B> {
    fn responses() -> Responses {
        failures::<B>(&[401, 403, 404, B::INVALID, 503])
    }
}

impl<B: ErrorBody> IntoResponses for BodyFailures<B> {
    fn responses() -> Responses {
        failures::<B>(&[400, 401, 403, 404, 413, 415, B::INVALID, 503])
    }
}

fn failures<B: ErrorBody>(statuses: &[u16]) -> Responses {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(B::name())));
    let response = ResponseBuilder::new().content("application/json", body.build());
    let response = RefOr::from(response.build());
    let responses = statuses
        .iter()
        .map(|status| (status.to_string(), response.clone()));
    responses.collect()
}

/// The schemas of the error bodies. `utoipa` does not collect them from [`IntoResponses`].
pub fn error_schemas() -> [(Cow<'static, str>, RefOr<Schema>); 3] {
    fn schema<B: ErrorBody>() -> (Cow<'static, str>, RefOr<Schema>) {
        (B::name(), B::schema())
    }
    [
        schema::<Problem>(),
        schema::<AdminProblem>(),
        schema::<SessionProblem>(),
    ]
}
