//! Refusals as gRPC statuses: the one place where the catalogue of reasons meets the wire.
//!
//! A status carries `google.rpc.ErrorInfo` with the reason, the domain and the variable parts;
//! `RetryInfo` where the same request may succeed later; `PreconditionFailure` for states and
//! `BadRequest` for a named field.

use std::{collections::HashMap, time::Duration};

use quorate_model::{Reason, Refusal, refusal::Code};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of all reasons.
pub const DOMAIN: &str = "quorate.dev";

/// The delay after which a retry is suggested, unless the refusal names one in its metadata under
/// [`RETRY_AFTER_MS`].
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The variable part of a refusal that overrides [`RETRY_DELAY`].
pub const RETRY_AFTER_MS: &str = "retry_after_ms";

// Statuses travel in HTTP/2 headers, of which peers take 16 KiB in all.
const MAX_MESSAGE_BYTES: usize = 1024;
const MAX_METADATA_BYTES: usize = 2048;

const fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Aborted => tonic::Code::Aborted,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Internal => tonic::Code::Internal,
    }
}

/// The status of a refused call. Long messages are cut, and variable parts that do not fit are
/// left out, because a status has to fit into headers.
pub fn to_status(refusal: &Refusal) -> tonic::Status {
    let reason = refusal.reason;
    let message = cut(&refusal.message, MAX_MESSAGE_BYTES);
    let mut room = MAX_METADATA_BYTES;
    let mut metadata = HashMap::new();
    for (name, value) in &refusal.metadata {
        let size = name.len().saturating_add(value.len());
        if size <= room {
            room = room.saturating_sub(size);
            metadata.insert(name.clone(), value.clone());
        }
    }
    let field = metadata.get("field").cloned();
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    if reason.is_retryable() {
        let asked = refusal
            .get(RETRY_AFTER_MS)
            .and_then(|millis| millis.parse().ok());
        details.set_retry_info(Some(asked.map_or(RETRY_DELAY, Duration::from_millis)));
    }
    if reason.code() == Code::FailedPrecondition {
        let subject = refusal
            .get("key")
            .or_else(|| refusal.get("node"))
            .unwrap_or_default();
        details.add_precondition_failure_violation(
            reason.as_str(),
            cut(subject, MAX_MESSAGE_BYTES),
            message,
        );
    }
    if let Some(field) = field.filter(|_| reason.code() == Code::InvalidArgument) {
        details.add_bad_request_violation(field, message);
    }
    tonic::Status::with_error_details(grpc_code(reason.code()), message, details)
}

/// The refusal that a status carries; none when the status is somebody else's: of another domain,
/// or with a reason outside the catalogue. Variable parts are in the order of their names.
pub fn from_status(status: &tonic::Status) -> Option<Refusal> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    let reason = Reason::from_text(&info.reason)?;
    let mut metadata: Vec<(String, String)> = info.metadata.into_iter().collect();
    metadata.sort_unstable();
    Some(Refusal {
        reason,
        message: status.message().to_owned(),
        metadata,
    })
}

/// The start of a text, at most `limit` bytes, in whole characters.
fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_travels_with_its_code_and_comes_back() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(*reason, "the key is \"ä\": not active")
                .with("alpha", 1)
                .with("field", "name");

            let status = to_status(&refusal);

            assert_eq!(status.code(), grpc_code(reason.code()), "{reason}");
            assert_ne!(status.code(), tonic::Code::Ok);
            assert_eq!(from_status(&status), Some(refusal), "{reason}");
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().domain, DOMAIN);
            assert_eq!(
                details.retry_info().is_some(),
                reason.is_retryable(),
                "{reason}"
            );
            let of_state = reason.code() == Code::FailedPrecondition;
            assert_eq!(
                details.precondition_failure().is_some(),
                of_state,
                "{reason}"
            );
            let of_field = reason.code() == Code::InvalidArgument;
            assert_eq!(details.bad_request().is_some(), of_field, "{reason}");
        }
    }

    #[test]
    fn a_refusal_may_name_its_own_retry_delay() {
        let refusal = Refusal::new(Reason::Overloaded, "too much").with(RETRY_AFTER_MS, 250);

        let retry = to_status(&refusal).get_details_retry_info().unwrap();

        assert_eq!(retry.retry_delay, Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_status_of_another_domain_is_no_refusal() {
        let foreign = |reason: &str, domain: &str| {
            let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
            tonic::Status::with_error_details(tonic::Code::Internal, "", details)
        };

        assert_eq!(from_status(&foreign("KEY_UNKNOWN", "example.com")), None);
        assert_eq!(from_status(&foreign("NO_SUCH_REASON", DOMAIN)), None);
        assert_eq!(from_status(&tonic::Status::unavailable("gone")), None);
        assert!(from_status(&foreign("KEY_UNKNOWN", DOMAIN)).is_some());
    }

    #[test]
    fn a_status_fits_into_headers_whatever_the_refusal_says() {
        let refusal = Refusal::new(Reason::KeyNotActive, "ä".repeat(100_000))
            .with("key", "k".repeat(2000))
            .with("rest", "r".repeat(100_000));

        let status = to_status(&refusal);

        let response = status.clone().into_http::<tonic::body::Body>();
        let headers = response.headers().iter();
        let size: usize = headers
            .map(|(_, value)| value.len().saturating_add(64))
            .sum();
        assert!(size < 16 << 10, "{size}");
        let back = from_status(&status).unwrap();
        assert_eq!(back.reason, Reason::KeyNotActive);
        assert_eq!(back.message, "ä".repeat(512));
        assert!(back.get("key").is_some());
        assert_eq!(back.get("rest"), None);
    }
}
