//! What the service's error codes mean for the caller.

/// The part of [`Error`](super::Error) that a code and a status decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Throttled,
    Unavailable,
    Refused,
    Misconfigured,
}

/// A code that is known speaks for itself; else the status does; else the request is taken to be at
/// fault, as the service's own libraries do.
pub(super) fn kind(status: Option<u16>, code: Option<&str>, message: Option<&str>) -> Kind {
    if let Some(kind) = code.and_then(|code| of_code(code, message.unwrap_or_default())) {
        return kind;
    }
    match status {
        Some(429) => Kind::Throttled,
        Some(408 | 500..) => Kind::Unavailable,
        Some(300..=399 | 401 | 403 | 404) => Kind::Misconfigured,
        _ => Kind::Refused,
    }
}

fn of_code(code: &str, message: &str) -> Option<Kind> {
    let kind = match code {
        _ if code.starts_with("Throttling") => {
            if is_free_quota(message) {
                Kind::Misconfigured
            } else {
                Kind::Throttled
            }
        }
        "Arrearage"
        | "BudgetLimitExceeded"
        | "CommodityNotPurchased"
        | "FlowNotPublished"
        | "InvalidApiKey"
        | "ModelNotFound"
        | "NotFound"
        | "PostpaidBillOverdue"
        | "PrepaidBillOverdue"
        | "WorkSpaceNotFound"
        | "AllocationQuota.FreeTierOnly" => Kind::Misconfigured,
        _ if code.split('.').any(|part| part == "AccessDenied") => Kind::Misconfigured,
        "AppProcessFailed" | "InvokePluginFailed" | "ModelServiceFailed" | "ModelServingError"
        | "ModelUnavailable" | "RequestTimeOut" | "ResponseTimeout" | "RetrievalFailed"
        | "RetrivalFailed" | "RewriteFailed" | "SystemError" => Kind::Unavailable,
        _ if code.starts_with("InternalError") => Kind::Unavailable,
        "CustomRoleBlocked"
        | "DataInspectionFailed"
        | "FaqRuleBlocked"
        | "IPInfringementSuspect"
        | "InvalidParameter" => Kind::Refused,
        _ => return None,
    };
    Some(kind)
}

/// A free quota that is used up comes as throttling, but waiting does not bring it back: somebody
/// has to pay.
fn is_free_quota(message: &str) -> bool {
    let message = message.to_lowercase();
    ["free allocated quota", "free quota", "free tier", "免费"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

/// Whether the service gave up after working, so that tokens may have been used.
pub(super) fn is_late(code: &str) -> bool {
    matches!(
        code,
        "RequestTimeOut" | "ResponseTimeout" | "InternalError.Timeout"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_documented_code_has_the_meaning_of_its_row() {
        let rows: &[(u16, &[&str], Kind)] = &[
            (
                400,
                &[
                    "InvalidParameter",
                    "BadRequest.EmptyInput",
                    "BadRequest.IllegalInput",
                    "BadRequest.EmptyParameters",
                    "FaqRuleBlocked",
                    "CustomRoleBlocked",
                    "IPInfringementSuspect",
                    "DataInspectionFailed",
                ],
                Kind::Refused,
            ),
            (400, &["Arrearage", "FlowNotPublished"], Kind::Misconfigured),
            (
                401,
                &["InvalidApiKey", "NOT AUTHORIZED"],
                Kind::Misconfigured,
            ),
            (
                403,
                &[
                    "AccessDenied",
                    "AccessDenied.Unpurchased",
                    "App.AccessDenied",
                    "Model.AccessDenied",
                    "Workspace.AccessDenied",
                    "Endpoint.AccessDenied",
                    "AllocationQuota.FreeTierOnly",
                ],
                Kind::Misconfigured,
            ),
            (
                404,
                &["ModelNotFound", "WorkSpaceNotFound", "NotFound"],
                Kind::Misconfigured,
            ),
            (413, &["TooLarge"], Kind::Refused),
            (
                429,
                &[
                    "Throttling",
                    "Throttling.RateQuota",
                    "Throttling.BurstRate",
                    "Throttling.AllocationQuota",
                ],
                Kind::Throttled,
            ),
            (
                429,
                &[
                    "CommodityNotPurchased",
                    "PrepaidBillOverdue",
                    "PostpaidBillOverdue",
                    "BudgetLimitExceeded",
                ],
                Kind::Misconfigured,
            ),
            (
                500,
                &[
                    "InternalError",
                    "InternalError.Algo",
                    "InternalError.Timeout",
                    "SystemError",
                    "ModelServiceFailed",
                    "RequestTimeOut",
                    "ResponseTimeout",
                    "AppProcessFailed",
                    "InvokePluginFailed",
                    "RewriteFailed",
                    "RetrivalFailed",
                    "RetrievalFailed",
                ],
                Kind::Unavailable,
            ),
            (
                503,
                &["ModelServingError", "ModelUnavailable"],
                Kind::Unavailable,
            ),
        ];
        for (status, codes, expected) in rows {
            for code in *codes {
                assert_eq!(
                    kind(Some(*status), Some(code), None),
                    *expected,
                    "{status} {code}"
                );
            }
        }
    }

    #[test]
    fn throttling_is_told_from_a_free_quota_that_is_used_up() {
        let code = Some("Throttling.AllocationQuota");
        assert_eq!(
            kind(Some(429), code, Some("Free allocated quota exceeded.")),
            Kind::Misconfigured
        );
        assert_eq!(
            kind(Some(429), code, Some("免费额度已用完")),
            Kind::Misconfigured
        );
        assert_eq!(
            kind(
                Some(429),
                code,
                Some("Allocated quota exceeded, feel free to ask.")
            ),
            Kind::Throttled
        );
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        assert_eq!(kind(Some(502), None, None), Kind::Unavailable);
        assert_eq!(kind(Some(429), Some("New"), None), Kind::Throttled);
        assert_eq!(kind(Some(302), None, None), Kind::Misconfigured);
        assert_eq!(kind(Some(422), None, None), Kind::Refused);
        assert_eq!(kind(None, Some("New"), None), Kind::Refused);
        assert_eq!(kind(None, Some("SystemError"), None), Kind::Unavailable);
    }
}
