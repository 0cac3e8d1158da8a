//! How failures look in the OpenAPI document.
//!
//! A handler names one of four sets, by what it takes from a request, with the body of its API:
//! `responses((status = 200, body = RunDetails), ItemFailures<AdminProblem>)`. A status that only
//! this route has stands beside it.

use std::{borrow::Cow, collections::BTreeMap, marker::PhantomData};

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema},
};

/// The body of an error in the words of the mini-program.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    non_snake_case,
    reason = "it only describes the body in the OpenAPI document"
)]
pub struct Problem {
    /// For people, in Chinese.
    detail: String,
    /// For programs; stable.
    code: String,
    /// Also in the header `x-request-id` and in the log.
    requestId: String,
    /// The field that does not fit.
    field: Option<String>,
    /// The reply that is being made.
    messageId: Option<i64>,
    /// Seconds.
    retryAfter: Option<i32>,
}

/// The body of an error in the words of the admin web.
#[derive(ToSchema)]
#[schema(as = AdminProblem)]
#[expect(
    dead_code,
    reason = "it only describes the body in the OpenAPI document"
)]
pub struct AdminProblem {
    /// For people, in Chinese.
    detail: String,
    /// For programs; stable.
    code: String,
    /// Also in the header `x-request-id` and in the log.
    request_id: String,
    /// The field that does not fit.
    field: Option<String>,
    /// Seconds.
    retry_after: Option<i32>,
}

/// The body of an error in the words of the session API.
#[derive(ToSchema)]
#[schema(as = SessionProblem)]
#[expect(
    dead_code,
    reason = "it only describes the body in the OpenAPI document"
)]
pub struct SessionProblem {
    /// For people, in English.
    error: String,
    /// For programs; stable.
    code: String,
    /// Also in the header `x-request-id` and in the log.
    request_id: String,
    /// The field that does not fit.
    field: Option<String>,
    /// Seconds.
    retry_after: Option<i32>,
}

/// The body of an error, by API.
pub trait ErrorBody: ToSchema {
    /// The status for a parameter or field that is not valid.
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

/// Failures of a route that takes nothing but the caller.
pub struct Failures<B>(PhantomData<B>);

/// Failures of a route that takes parameters: a list with filters.
pub struct QueryFailures<B>(PhantomData<B>);

/// Failures of a route about one item or one site, which may not exist.
pub struct ItemFailures<B>(PhantomData<B>);

/// Failures of a route that takes a JSON body.
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

/// The schemas that the sets refer to. `utoipa` does not collect them from [`IntoResponses`].
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
