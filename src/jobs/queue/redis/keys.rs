//! The names of keys. arq's own: the queue and what begins with the prefix. Ours are named after the queue.

use super::config::Config;
use crate::jobs::Error;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// Sorted set: waiting and running jobs by the moment that they are due; arq's.
    pub(super) queue: String,
    /// `<prefix>job:<id>`, `result:`, `in-progress:` and `retry:` are arq's strings.
    pub(super) prefix: String,
    /// Sorted set: requests to abort by when they were made; arq's.
    pub(super) abort: String,
    /// What `arq --check` looks for.
    pub(super) report: String,
    /// Sorted set: jobs that our workers run by the end of their lease.
    pub(super) leases: String,
    /// Sorted set: dead letters by when they died; `<dead>:<id>` are hashes.
    pub(super) dead: String,
    /// Sorted set: jobs that our workers completed by when their result expires.
    pub(super) complete: String,
    /// The channel of our notifications: `queued`, `abort`, `ended:<id>`.
    pub(super) channel: String,
}

impl Keys {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let (queue, prefix) = (&config.queue, &config.prefix);
        if queue.is_empty() {
            return Err(settings("`jobs.redis.queue` is empty".to_owned()));
        }
        if config.cluster {
            let tags = (hash_tag(queue), hash_tag(prefix));
            if tags.0.is_none() || tags.0 != tags.1 {
                return Err(settings(format!(
                    "in a Redis Cluster `jobs.redis.queue` and `jobs.redis.prefix` need the same hash tag, such as `{{arq}}:queue` and `{{arq}}:`; they are `{queue}` and `{prefix}`"
                )));
            }
        }
        Ok(Self {
            queue: queue.clone(),
            prefix: prefix.clone(),
            abort: format!("{prefix}abort"),
            report: format!("{queue}:health-check"),
            leases: format!("{queue}:leases"),
            dead: format!("{queue}:dead"),
            complete: format!("{queue}:complete"),
            channel: format!("{queue}:events"),
        })
    }
}

/// The part of a key that alone decides its hash slot, if it has one.
fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

fn settings(what: String) -> Error {
    Error::Settings { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_needs_one_hash_tag() {
        for (queue, prefix, is_fine) in [
            ("{arq}:queue", "{arq}:", true),
            ("high{arq}", "{arq}:", true),
            ("arq:queue", "arq:", false),
            ("{a}:queue", "{b}:", false),
            ("{}:queue", "{}:", false),
        ] {
            let config = Config {
                queue: queue.to_owned(),
                prefix: prefix.to_owned(),
                cluster: true,
                ..Config::default()
            };
            assert_eq!(Keys::new(&config).is_ok(), is_fine, "{queue} {prefix}");
        }
    }

    #[test]
    fn the_default_names_are_arqs() {
        let keys = Keys::new(&Config::default()).unwrap();
        assert_eq!(keys.queue, "arq:queue");
        assert_eq!(keys.abort, "arq:abort");
        assert_eq!(keys.report, "arq:queue:health-check");
    }
}
