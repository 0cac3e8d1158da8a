//! Retries before the first text, when no text can repeat.

use std::time::Duration;

use backon::Retryable;
use chrono::DateTime;
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use tokio::time::Instant;

use super::{Error, Retries, Spent};

/// Longest pause. It exceeds every deadline, but calculations with it cannot overflow.
const MAX_PAUSE: Duration = Duration::from_hours(24);

/// Runs `attempt` until it succeeds, `retries` is used up, or a pause would exceed `end`. With
/// `has_fallback`, throttling is not retried. If the connection was closed before a response, the
/// first retry has no pause. Returns the result with the number of attempts, and what the failed
/// ones used.
pub(super) async fn run<T, F, Fut>(
    retries: &Retries,
    end: Instant,
    has_fallback: bool,
    attempt: F,
) -> Result<(T, u32, Spent), Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let jitter = retries.jitter.clamp(0.0, 1.0);
    let with_jitter =
        move |delay: Duration| delay.min(MAX_PAUSE).mul_f64(1.0 + jitter * fastrand::f64());
    let delays = retries.delays.clone().into_iter().map(with_jitter);
    let mut attempts = 1;
    let mut is_first = true;
    let mut earlier = Spent::default();
    let outcome = attempt
        .retry(delays)
        .when(|error| error.is_retried_by_client() && !(has_fallback && error.is_throttled()))
        .adjust(|error, delay| {
            let is_first = std::mem::take(&mut is_first);
            let delay = match (delay, error.retry_after()) {
                (Some(_), _) if is_first && error.details().is_closed => Duration::ZERO,
                (Some(_), Some(requested)) => with_jitter(requested),
                (delay, _) => delay?,
            };
            (delay < end.saturating_duration_since(Instant::now())).then_some(delay)
        })
        .notify(|error, delay| {
            attempts += 1;
            earlier.add(error.spent());
            tracing::info!(
                code = error.code(),
                service_code = error.details().code,
                request_id = error.request_id(),
                delay_ms = delay.as_millis(),
                "retrying DashScope call"
            );
        })
        .await;
    match outcome {
        Ok(answer) => Ok((answer, attempts, earlier)),
        Err(mut error) => {
            let details = error.details_mut();
            details.attempts = attempts;
            details.earlier = earlier;
            Err(error)
        }
    }
}

/// The pause that the service requests. A date is compared with the `Date` of the response, so the
/// local clock does not matter.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: Option<&http::HeaderValue>| Some(value?.to_str().ok()?.trim().to_owned());
    let duration = |text: String, scale: f64| {
        Duration::try_from_secs_f64(text.parse::<f64>().ok()? * scale).ok()
    };
    if let Some(delay) = text(headers.get("retry-after-ms")).and_then(|text| duration(text, 0.001))
    {
        return Some(delay);
    }
    let after = text(headers.get(RETRY_AFTER))?;
    if let Ok(then) = DateTime::parse_from_rfc2822(&after) {
        let now = DateTime::parse_from_rfc2822(&text(headers.get(DATE))?).ok()?;
        return Some((then - now).to_std().unwrap_or_default());
    }
    duration(after, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        });
        retry_after(&headers.collect())
    }

    #[test]
    fn retry_after_is_read_in_each_form() {
        assert_eq!(read(&[("retry-after", "3")]), Some(Duration::from_secs(3)));
        assert_eq!(
            read(&[("retry-after", "0.5")]),
            Some(Duration::from_millis(500))
        );
        assert_eq!(
            read(&[("retry-after", "9"), ("retry-after-ms", "1500")]),
            Some(Duration::from_millis(1500))
        );
        let date = ("date", "Fri, 20 Nov 2026 10:00:00 GMT");
        assert_eq!(
            read(&[("retry-after", "Fri, 20 Nov 2026 10:00:07 GMT"), date]),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            read(&[("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT"), date]),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn invalid_retry_after_is_none() {
        for value in [
            "",
            "soon",
            "-1",
            "NaN",
            "inf",
            "1e300",
            "Fri, 20 Nov 2026 10:00:07 GMT",
        ] {
            assert_eq!(read(&[("retry-after", value)]), None, "{value}");
        }
        assert_eq!(read(&[]), None);
    }
}
