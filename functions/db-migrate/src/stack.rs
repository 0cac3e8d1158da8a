//! How `CloudFormation` asks for a custom resource, and how it wants to be told what became of it:
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/crpg-ref.html>

use std::{fmt::Display, net::Ipv4Addr, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use common::platform::http_client;
use reqwest::{StatusCode, Url, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::{MigrationFailed, Report};

/// There is one schema, and it is never another: with another id `CloudFormation` would delete the one before.
const SCHEMA: &str = "schema";
/// For one try to tell.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is left of the function's time when it gives up telling.
const MARGIN: Duration = Duration::from_secs(1);

/// What `CloudFormation` asks.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    #[serde(rename = "RequestType")]
    pub(crate) change: Change,
    /// Where to tell it, signed: who knows the address may tell. So it is in no log.
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    #[serde(rename = "RequestId")]
    id: String,
    logical_resource_id: String,
    /// Absent at the first.
    physical_resource_id: Option<String>,
}

/// What becomes of the resource.
#[derive(Clone, Copy, Deserialize)]
pub(crate) enum Change {
    Create,
    Update,
    Delete,
    #[serde(other)]
    Unknown,
}

/// What became of it. The reason is shown to whoever may see the stack.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Outcome {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

/// What a template can read of the resource.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    applied: usize,
    version: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
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

    pub(crate) fn failed(why: &impl Display) -> Self {
        Self {
            status: "FAILED",
            reason: Some(format!("{why}; the log of db-migrate says more")),
            data: None,
        }
    }
}

/// Why a try to tell did not succeed.
#[derive(Debug, thiserror::Error)]
enum Unreported {
    #[error("the address is refused")]
    Address,
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("not reached: {0}")]
    Http(#[from] reqwest::Error),
}

/// Tells `CloudFormation`, and tries that again until the function's own end: a stack that is told nothing
/// waits as long as the resource's `ServiceTimeout`.
pub(crate) async fn tell(
    request: &Request,
    outcome: &Outcome,
    ends_at: Option<Instant>,
) -> Result<(), MigrationFailed> {
    let answer = Answer {
        outcome,
        physical_resource_id: request.physical_resource_id.as_deref().unwrap_or(SCHEMA),
        stack_id: &request.stack_id,
        request_id: &request.id,
        logical_resource_id: &request.logical_resource_id,
    };
    let answer = serde_json::to_string(&answer).map_err(|_| MigrationFailed::Untold)?;
    let telling = put(&request.response_url, answer);
    let told = match ends_at.and_then(|at| at.checked_sub(MARGIN)) {
        Some(until) => timeout_at(until, telling).await,
        None => Ok(telling.await),
    };
    let cause = match told {
        Ok(Ok(())) => {
            tracing::info!(status = outcome.status, "CloudFormation was told");
            return Ok(());
        }
        Ok(Err(err)) => err.to_string(),
        Err(_) => "out of time".to_owned(),
    };
    tracing::error!(cause, "CloudFormation could not be told");
    Err(MigrationFailed::Untold)
}

async fn put(url: &str, answer: String) -> Result<(), Unreported> {
    let url = Url::parse(url).ok().filter(is_trusted);
    let url = url.ok_or(Unreported::Address)?;
    let client = http_client::client().map_err(|_| Unreported::Address)?;
    let client = client.timeout(PATIENCE).build()?;
    let attempt = async || {
        let request = client
            .put(url.clone())
            // The address is signed for no type of content.
            .header(CONTENT_TYPE, "")
            .body(answer.clone());
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Unreported::Status(status)),
        }
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_times(3);
    attempt
        .retry(pauses)
        .notify(|err, _| tracing::warn!(cause = %err, "telling CloudFormation again"))
        .await
}

/// Who may invoke the function says where to, and IAM says who may. Still, what was done is told over TLS
/// alone, but to a listener on the same machine: in the cloud none is there, in a test the test is.
fn is_trusted(url: &Url) -> bool {
    let here = Ipv4Addr::LOCALHOST.to_string();
    url.scheme() == "https" || (url.scheme() == "http" && url.host_str() == Some(&*here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_over_tls_or_to_the_same_machine() {
        for (url, is_fine) in [
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
            assert_eq!(is_trusted(&Url::parse(url).unwrap()), is_fine, "{url}");
        }
    }

    #[test]
    fn an_event_of_a_stack_is_never_taken_for_another() {
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
