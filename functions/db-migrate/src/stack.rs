//! Requests and responses of a `CloudFormation` custom resource:
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/crpg-ref.html>

use std::{fmt::Display, net::Ipv4Addr, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use common::platform::http_client;
use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::{MigrationFailed, Report};

/// The physical id of the resource. It never changes: after a change, `CloudFormation` would delete
/// the old resource.
const PHYSICAL_ID: &str = "schema";
/// Timeout of one attempt to report.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Reporting ends this long before the function's timeout.
const MARGIN: Duration = Duration::from_secs(1);

/// A request of `CloudFormation`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    #[serde(rename = "RequestType")]
    pub(crate) change: Change,
    /// A signed URL for the response. It must not be logged: anyone who knows it can respond.
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    #[serde(rename = "RequestId")]
    id: String,
    logical_resource_id: String,
    /// `None` in the first request.
    physical_resource_id: Option<String>,
}

/// The change of the resource.
#[derive(Clone, Copy, Deserialize)]
pub(crate) enum Change {
    Create,
    Update,
    Delete,
    #[serde(other)]
    Unknown,
}

/// The result of a request. All users who can view the stack can read the reason.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Outcome {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

/// Attributes of the resource that a template can read.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    applied: usize,
    version: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    physical_resource_id: &'a str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
}

impl Outcome {
    pub(crate) fn of(report: &Report) -> Self {
        let Report {
            applied, version, ..
        } = *report;
        Self {
            data: Some(Data { applied, version }),
            ..Self::unchanged()
        }
    }

    pub(crate) fn unchanged() -> Self {
        Self {
            status: "SUCCESS",
            reason: None,
            data: None,
        }
    }

    pub(crate) fn failed(reason: &impl Display) -> Self {
        Self {
            status: "FAILED",
            reason: Some(format!("{reason}; see the log of db-migrate")),
            data: None,
        }
    }
}

/// Why an attempt to report failed.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("the response URL is not allowed")]
    Url,
    #[error("status {0}")]
    Status(StatusCode),
    #[error("request failed: {0}")]
    Http(#[from] reqwest::Error),
}

/// Reports the outcome to `CloudFormation`, with up to three retries, until shortly before the
/// function's timeout. A stack that gets no response waits for the resource's `ServiceTimeout`.
pub(crate) async fn report(
    request: &Request,
    outcome: &Outcome,
    ends_at: Option<Instant>,
) -> Result<(), MigrationFailed> {
    let response = Response {
        outcome,
        physical_resource_id: request
            .physical_resource_id
            .as_deref()
            .unwrap_or(PHYSICAL_ID),
        stack_id: &request.stack_id,
        request_id: &request.id,
        logical_resource_id: &request.logical_resource_id,
    };
    let body = serde_json::to_string(&response).map_err(|_| MigrationFailed::NotReported)?;
    let sending = put(&request.response_url, body);
    let result = match ends_at.and_then(|at| at.checked_sub(MARGIN)) {
        Some(until) => timeout_at(until, sending).await,
        None => Ok(sending.await),
    };
    let cause = match result {
        Ok(Ok(())) => {
            tracing::info!(status = outcome.status, "result reported to CloudFormation");
            return Ok(());
        }
        Ok(Err(err)) => err.to_string(),
        Err(_) => "out of time".to_owned(),
    };
    tracing::error!(cause, "the result could not be reported to CloudFormation");
    Err(MigrationFailed::NotReported)
}

async fn put(url: &str, body: String) -> Result<(), ReportError> {
    let url = Url::parse(url).ok().filter(is_trusted);
    let url = url.ok_or(ReportError::Url)?;
    let client = http_client::client().map_err(|_| ReportError::Url)?;
    let client = client.timeout(ATTEMPT_TIMEOUT).build()?;
    let attempt = async || {
        let request = client
            .put(url.clone())
            // The signature of the URL covers an empty content type.
            .header(CONTENT_TYPE, "")
            .body(body.clone());
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(ReportError::Status(status)),
        }
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_times(3);
    attempt
        .retry(pauses)
        .notify(|err, _| tracing::warn!(cause = %err, "report to CloudFormation failed, retrying"))
        .await
}

/// Allows HTTPS only, or HTTP to the same machine. The caller chooses the URL, and IAM decides who
/// may call; this is a second barrier. Tests listen on the same machine; in the cloud nothing does.
fn is_trusted(url: &Url) -> bool {
    let localhost = Ipv4Addr::LOCALHOST.to_string();
    url.scheme() == "https" || (url.scheme() == "http" && url.host_str() == Some(&*localhost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_the_same_machine_is_trusted() {
        for (url, expected) in [
            (
                "https://cloudformation-custom-resource-response-apsoutheast1.s3.amazonaws.com/a?b=c",
                true,
            ),
            ("http://127.0.0.1:4000/x", true),
            ("http://cloudformation.s3.amazonaws.com/a", false),
            ("http://127.0.0.1.example.com/x", false),
            ("http://127.0.0.1@example.com/x", false),
            ("http://169.254.169.254/latest", false),
            ("ftp://127.0.0.1/x", false),
        ] {
            assert_eq!(is_trusted(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_stack_event_is_always_recognized() {
        let event = r#"{"RequestType":"Replace","ResponseURL":"https://a/b","StackId":"s","RequestId":"r",
            "LogicalResourceId":"Migration","ResourceProperties":{}}"#;
        let request: crate::Request = serde_json::from_str(event).unwrap();
        assert!(matches!(
            request,
            crate::Request::Stack(Request {
                change: Change::Unknown,
                ..
            })
        ));
        for event in ["{}", r#"{"any":"thing"}"#] {
            let request: crate::Request = serde_json::from_str(event).unwrap();
            assert!(matches!(request, crate::Request::Plain {}));
        }
    }
}
