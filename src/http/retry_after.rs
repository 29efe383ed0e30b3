//! `Retry-After`: whole seconds, rounded up, one where nothing better is known.

use std::time::Duration;

use axum::http::HeaderValue;

/// Longer is a guess that nobody should hold a caller to.
const MOST: Duration = Duration::from_secs(60);

pub(super) fn value(pause: Option<Duration>) -> HeaderValue {
    let pause = pause.unwrap_or_default().min(MOST);
    let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_whole_seconds_rounded_up_and_bounded() {
        for (millis, wanted) in [
            (None, "1"),
            (Some(3), "1"),
            (Some(1_001), "2"),
            (Some(9_000_000), "60"),
        ] {
            assert_eq!(value(millis.map(Duration::from_millis)), wanted);
        }
    }
}
