//! What is asked, of which events.

use std::time::Duration;

use super::super::topic::{Begin, End};
use crate::types::timestamp::Timestamp;

/// Where events are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The files that the sink wrote.
    #[default]
    Files,
    /// What waits in the spool, and no sink has yet.
    Spool,
    /// The Kafka topic of `[audit.kafka]`.
    Topic,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object on a line for each row.
    Json,
    /// A line of names, then one for each row.
    Csv,
    /// Columns for people.
    Table,
    /// Arrow's stream format.
    Arrow,
}

/// A query and the events that it may see.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub sql: String,
    pub source: Source,
    /// Only events taken up at this moment or later.
    pub since: Option<Timestamp>,
    /// Only events taken up before this moment.
    pub until: Option<Timestamp>,
    /// Of a topic one partition only.
    pub partition: Option<i32>,
    /// Of a topic only messages from this offset on, in each partition.
    pub first_offset: Option<i64>,
    /// Of a topic only messages before this offset.
    pub end_offset: Option<i64>,
    /// Instead of the configuration's, if it is less; the command line may also ask for more.
    pub timeout: Option<Duration>,
    pub max_rows: Option<usize>,
}

#[cfg_attr(
    not(feature = "datafusion"),
    expect(dead_code, reason = "nothing asks")
)]
impl Question {
    /// Where reading the topic begins and ends.
    pub(super) fn topic_range(&self) -> (Begin, End) {
        let begin = match (self.first_offset, self.since) {
            (Some(offset), _) => Begin::Offset(offset),
            (None, Some(since)) => Begin::Since(since),
            (None, None) => Begin::Oldest,
        };
        let end = self.end_offset.map_or(End::Last, End::Offset);
        (begin, end)
    }

    /// Whether the event is in the range of time.
    pub(super) fn takes(&self, micros: i64) -> bool {
        self.since.is_none_or(|since| micros >= since.as_micros())
            && self.until.is_none_or(|until| micros < until.as_micros())
    }
}

/// A moment as people write it: so long ago (`1h`, `2days`), or RFC 3339 (`2026-11-22T14:00:00Z`).
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_micros(time.as_microsecond()));
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        format!(
            "`{text}` is neither so long ago, as in `1h`, nor a time, as in `2026-11-22T14:00:00Z`"
        )
    })?;
    let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    let now = Timestamp::now().as_micros();
    Ok(Timestamp::from_micros(now.saturating_sub(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_so_long_ago_or_a_time() {
        let time = moment("2026-11-22T14:00:00.5Z").unwrap();
        assert_eq!(time.to_string(), "2026-11-22T14:00:00.500Z");
        let ago = moment("1h").unwrap().age_at(Timestamp::now());
        assert!(ago >= Duration::from_secs(3600), "{ago:?}");
        for bad in ["", "yesterday", "2026-11-22", "-1h"] {
            assert!(moment(bad).unwrap_err().contains("neither"), "{bad}");
        }
    }

    #[test]
    fn the_end_of_a_range_is_not_in_it() {
        let question = Question {
            since: Some(Timestamp::from_micros(10)),
            until: Some(Timestamp::from_micros(20)),
            ..Question::default()
        };
        let taken: Vec<i64> = [9, 10, 19, 20]
            .into_iter()
            .filter(|micros| question.takes(*micros))
            .collect();
        assert_eq!(taken, [10, 19]);
        assert!(Question::default().takes(i64::MIN));
    }
}
