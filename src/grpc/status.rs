//! Our errors as gRPC statuses, by the gRPC column of `ErrorClass`.

use tonic::metadata::MetadataValue;
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
    let mut message = match failure.hint() {
        Some(hint) => format!("{failure} ({hint})"),
        None => failure.to_string(),
    };
    cut(&mut message);
    let mut status = Status::new(Code::from_i32(failure.class().grpc_code()), message);
    if let Some(pause) = failure.retry_after() {
        // What gRPC's own clients that try again go by.
        let pause = MetadataValue::from(pause.as_millis().max(1) as u64);
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", pause);
    }
    status
}

/// A message travels in the headers, which clients take up to about 8 KiB, and may say names that the caller made up.
fn cut(message: &mut String) {
    const MOST: usize = 2_000;
    if message.len() > MOST {
        let mut end = MOST;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::retrieve::Error;

    #[test]
    fn a_long_message_is_cut_where_a_character_ends() {
        let mut message = "é".repeat(5_000);
        cut(&mut message);
        assert_eq!(message.len(), 2_003);
        let mut message = "short".to_owned();
        cut(&mut message);
        assert_eq!(message, "short");
    }

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
