//! Responses in HTML, and errors as pages.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use common::{
    Error, Result,
    web::{ErrorInWords, RenderedError},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};

use crate::{
    format::in_url,
    frame::{Frame, below_console, root},
    language::Language,
    session::redirect,
    texts::ErrorTexts,
};

/// No script, style or request of another origin, and no frame around a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Renders a page.
pub(crate) fn html(status: StatusCode, page: &impl Template) -> Result<Response> {
    let text = page
        .render()
        .map_err(|err| Error::Internal("a page cannot be rendered".into(), Some(err.into())))?;
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            HeaderName::from_static("vary"),
            HeaderValue::from_static("accept-language, cookie"),
        ),
    ];
    Ok((status, headers, text).into_response())
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    t: &'static ErrorTexts,
    sentence: String,
    code: &'static str,
    /// True if a form failed.
    is_form: bool,
}

/// The middleware: shows errors as pages. Without a valid token, it leads to the sign-in page.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let (headers, uri, method) = (
        request.headers().clone(),
        request.uri().clone(),
        request.method().clone(),
    );
    let mut response = next.run(request).await;
    let Some(error) = response.extensions().get::<Arc<Error>>().cloned() else {
        return response;
    };
    let page = if matches!(*error, Error::Unauthorized(_)) {
        sign_in_first(&uri, &method)
    } else {
        match error_page(&error, &headers, &uri, &method) {
            Ok(page) => page,
            Err(_) => return response,
        }
    };
    response = page;
    response.extensions_mut().insert(error);
    response.extensions_mut().insert(RenderedError);
    response
}

fn error_page(error: &Error, headers: &HeaderMap, uri: &Uri, method: &Method) -> Result<Response> {
    let frame = Frame::of(headers, uri.path());
    let words = ErrorInWords::of(error, frame.language == Language::English);
    let page = ErrorPage {
        t: ErrorTexts::of(frame.language),
        frame,
        sentence: words.sentence,
        code: words.code,
        is_form: *method == Method::POST,
    };
    html(words.status, &page)
}

fn sign_in_first(uri: &Uri, method: &Method) -> Response {
    let root = root(uri.path());
    let page = below_console(uri.path()).trim_start_matches('/');
    let mut target = if page.is_empty() {
        "../console".to_owned()
    } else {
        page.to_owned()
    };
    if let Some(query) = uri.query() {
        target = format!("{target}?{query}");
    }
    let encoded = in_url(&target);
    if *method == Method::GET {
        redirect(&format!("{root}/sign-in?next={encoded}"))
    } else {
        redirect(&format!("{root}/sign-in"))
    }
}
