//! `grpc-timeout`: how long a caller waits.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::types::deadline::Deadline;

/// What the caller says, if it says anything that can be understood.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

/// The server's own limit, or an earlier one that the caller has.
pub(super) fn deadline(headers: &HeaderMap, limit: Duration) -> Deadline {
    let deadline = Deadline::after(limit);
    of(headers).map_or(deadline, |timeout| deadline.at_most(timeout))
}

/// gRPC's way of writing a duration: up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_is_digits_and_a_unit() {
        for (text, wanted) in [
            ("5m", Some(Duration::from_millis(5))),
            ("2S", Some(Duration::from_secs(2))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("7u", Some(Duration::from_micros(7))),
            ("100000000S", None),
            ("5", None),
            ("m", None),
            ("", None),
            ("5µ", None),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_caller_may_have_less_time_than_the_server_but_not_more() {
        let limit = Duration::from_secs(10);
        let of = |text| {
            let headers = HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                axum::http::HeaderValue::from_static(text),
            )]);
            deadline(&headers, limit).remaining()
        };
        assert!(of("250m") <= Duration::from_millis(250));
        assert!(of("1H") <= limit && of("1H") > Duration::from_secs(5));
        assert!(of("soon") > Duration::from_secs(5));
    }
}
