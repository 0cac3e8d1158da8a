//! Maps error codes of the service to kinds of errors.

/// The variants of [`Error`](super::Error) that code and status determine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Throttled,
    Unavailable,
    Refused,
    Blocked,
    Misconfigured,
}

/// A known code decides, else the status. Otherwise the request counts as refused, as in the
/// service's own libraries.
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
        // The meaning is the last part of a code such as `InternalError.Algo.DataInspectionFailed`.
        _ => match code.rsplit('.').next().unwrap_or(code) {
            "CustomRoleBlocked"
            | "DataInspectionFailed"
            | "FaqRuleBlocked"
            | "IPInfringementSuspect" => Kind::Blocked,
            "InvalidParameter" => Kind::Refused,
            _ if code.starts_with("InternalError") => Kind::Unavailable,
            _ => return None,
        },
    };
    Some(kind)
}

/// The service reports a used-up free quota as throttling. Waiting does not help: an operator must
/// pay.
fn is_free_quota(message: &str) -> bool {
    let message = message.to_lowercase();
    ["free allocated quota", "free quota", "free tier", "免费"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

/// True if the service timed out during its work, so that it may have used tokens.
pub(super) fn is_service_timeout(code: &str) -> bool {
    matches!(
        code,
        "RequestTimeOut" | "ResponseTimeout" | "InternalError.Timeout"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_codes_have_their_kinds() {
        let rows: &[(u16, &[&str], Kind)] = &[
            (
                400,
                &[
                    "InvalidParameter",
                    "BadRequest.EmptyInput",
                    "BadRequest.IllegalInput",
                    "BadRequest.EmptyParameters",
                    "InternalError.Algo.InvalidParameter",
                ],
                Kind::Refused,
            ),
            (
                400,
                &[
                    "FaqRuleBlocked",
                    "CustomRoleBlocked",
                    "IPInfringementSuspect",
                    "DataInspectionFailed",
                    "InternalError.Algo.DataInspectionFailed",
                ],
                Kind::Blocked,
            ),
            (400, &["Arrearage", "FlowNotPublished"], Kind::Misconfigured),
            (401, &["InvalidApiKey"], Kind::Misconfigured),
            (401, &["NOT AUTHORIZED"], Kind::Misconfigured),
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
    fn used_up_free_quota_is_not_throttling() {
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
    fn status_decides_without_a_known_code() {
        assert_eq!(kind(Some(502), None, None), Kind::Unavailable);
        assert_eq!(kind(Some(429), Some("New"), None), Kind::Throttled);
        assert_eq!(kind(Some(302), None, None), Kind::Misconfigured);
        assert_eq!(kind(Some(422), None, None), Kind::Refused);
        assert_eq!(kind(None, Some("New"), None), Kind::Refused);
        assert_eq!(kind(None, Some("SystemError"), None), Kind::Unavailable);
    }
}
