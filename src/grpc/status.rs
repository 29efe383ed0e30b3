//! Our errors as gRPC statuses, by the gRPC column of `ErrorClass`.

use tonic::{Code, Status};

use crate::error::{ErrorClass, Failure, with_causes};

/// The status of a failure; the ones that are not the caller's doing are logged, with their causes, once.
pub(super) fn of(failure: &dyn Failure) -> Status {
    match failure.class() {
        ErrorClass::Internal => {
            tracing::error!(code = failure.code(), error = %with_causes(failure));
        }
        ErrorClass::Unavailable => {
            tracing::warn!(code = failure.code(), error = %with_causes(failure));
        }
        _ => {}
    }
    let message = match failure.hint() {
        Some(hint) => format!("{failure} ({hint})"),
        None => failure.to_string(),
    };
    Status::new(Code::from_i32(failure.class().grpc_code()), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::retrieve::Error;

    #[test]
    fn a_failure_keeps_its_class_and_its_hint() {
        let status = of(&Error::NothingSelected);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().contains("name a `feature_service`"),
            "{status}"
        );
    }
}
