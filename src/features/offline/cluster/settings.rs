//! Where the cluster is, and where its machines meet.

use std::fmt;
use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Ballista cluster that joins views whose source is files, and scores with their features. Needs a build with the
/// feature `cluster`; `terrarium scheduler` and `terrarium executor` are its processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The cluster's scheduler: `df://host:port`.
    pub scheduler: Scheduler,
    /// A directory, or a place in an object store (`s3://bucket/path`), that this process and all executors reach under the
    /// same name. The entity rows of a join lie there while it runs.
    pub staging: String,
    /// Into how many parts sources and entity rows are divided. Two or three for each core of the cluster; more where memory
    /// is short.
    #[serde(default = "default_partitions")]
    pub partitions: NonZeroUsize,
}

const PARTITIONS: NonZeroUsize = const { NonZeroUsize::new(16).unwrap() };

fn default_partitions() -> NonZeroUsize {
    PARTITIONS
}

/// The address of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("examples" = ["df://127.0.0.1:50050"]))]
pub struct Scheduler {
    host: String,
    port: u16,
}

impl Scheduler {
    /// As its clients name it.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "df://{}:{}", self.host, self.port)
    }
}

impl std::str::FromStr for Scheduler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text
            .strip_prefix("df://")
            .and_then(|rest| rest.rsplit_once(':'));
        let address = address.filter(|(host, _)| !host.is_empty() && !host.contains('/'));
        let parsed = address.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parsed {
            Some((host, port)) => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            None => Err(format!(
                "`{text}` is no address of a scheduler, such as `df://127.0.0.1:50050`"
            )),
        }
    }
}

impl TryFrom<String> for Scheduler {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Scheduler> for String {
    fn from(scheduler: Scheduler) -> Self {
        scheduler.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_is_named_by_host_and_port() {
        let scheduler: Scheduler = "df://cluster.example:50050".parse().unwrap();
        assert_eq!(scheduler.url(), "http://cluster.example:50050");
        assert_eq!(scheduler.to_string(), "df://cluster.example:50050");
        let v6: Scheduler = "df://[::1]:1".parse().unwrap();
        assert_eq!(v6.host(), "[::1]");
        for wrong in [
            "",
            "df://",
            "df://host",
            "http://host:1",
            "df://host:99999",
            "df://:1",
            "df://a/b:1",
        ] {
            let error = wrong.parse::<Scheduler>().unwrap_err();
            assert!(error.contains("df://127.0.0.1:50050"), "{error}");
        }
    }
}
