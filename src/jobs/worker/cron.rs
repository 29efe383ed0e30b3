//! `[jobs.cron.<name>]`: jobs that are due by the calendar.
//!
//! Every worker enqueues them, all under the same id (`<name>:<planned time in Unix milliseconds>`, as arq's), so each runs
//! once. A moment at which no worker was there is left out.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outage::Outage;
use super::{Schedule, Shared};
use crate::error::{Failure, with_causes};
use crate::jobs::client::NewCall;
use crate::jobs::value::Value;
use crate::jobs::{Due, Enqueued, Error, JobId};
use crate::types::timestamp::Timestamp;

/// A job that workers enqueue by the calendar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CronJob")]
pub struct Config {
    /// The function that it calls.
    pub function: String,
    /// When: the five fields of crontab, or six with seconds first, such as `0 3 * * *`.
    pub schedule: String,
    /// By whose clocks, such as `Europe/Berlin`; without it UTC.
    #[serde(default)]
    pub timezone: Option<String>,
    /// The function's arguments.
    #[serde(default)]
    pub args: Vec<serde_json::Value>,
    /// Its arguments by name. The text `{now}` in an argument stands for the planned time, RFC 3339 in UTC.
    #[serde(default)]
    pub kwargs: serde_json::Map<String, serde_json::Value>,
}

/// A cron job and when it is due next.
pub(super) struct Planned {
    name: String,
    schedule: Schedule,
    zone: TimeZone,
    config: Config,
}

/// Clocks may be set: the calendar is looked at that often.
const LOOK: Duration = Duration::from_secs(30);

impl Planned {
    pub(super) fn new(name: &str, config: &Config) -> Result<Self, Error> {
        let wrong = |option: &str, error: String| Error::Settings {
            what: format!("`jobs.cron.{name}.{option}`: {error}"),
        };
        let schedule = config.schedule.parse();
        let schedule =
            schedule.map_err(|error: super::ScheduleError| wrong("schedule", error.to_string()))?;
        let zone = match &config.timezone {
            None => TimeZone::UTC,
            Some(zone) => {
                TimeZone::get(zone).map_err(|error| wrong("timezone", error.to_string()))?
            }
        };
        Ok(Self {
            name: name.to_owned(),
            schedule,
            zone,
            config: config.clone(),
        })
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, &self.zone)
    }

    /// The job of one planned moment.
    fn call(&self, planned: Timestamp) -> Result<NewCall, Error> {
        let args = self.config.args.iter().map(|arg| filled(arg, planned));
        let kwargs = self.config.kwargs.iter();
        let kwargs = kwargs.map(|(name, arg)| (name.clone(), filled(arg, planned)));
        Ok(NewCall {
            id: JobId::new(&format!(
                "cron:{}:{}",
                self.name,
                planned.as_micros() / 1000
            ))?,
            function: self.config.function.clone(),
            args: args.collect(),
            kwargs: kwargs.collect(),
            due: Due::Now,
            expires: None,
        })
    }
}

fn filled(arg: &serde_json::Value, planned: Timestamp) -> Value {
    match arg.as_str() {
        Some("{now}") => Value::from(planned.to_string()),
        Some(_) | None => Value::from(arg.clone()),
    }
}

pub(super) async fn run(shared: Arc<Shared>, jobs: Vec<Planned>) {
    let begun = Timestamp::now();
    let next = jobs.iter().map(|job| job.next(begun));
    let mut due: Vec<Option<Timestamp>> = next.collect();
    let mut outage = Outage::new("cron jobs are not enqueued");
    while let Some(first) = due.iter().flatten().min().copied() {
        let wait = Timestamp::now().age_at(first).min(LOOK);
        let stopped = tokio::select! {
            () = shared.shutdown.stopped() => true,
            () = tokio::time::sleep(wait) => false,
        };
        if stopped {
            return;
        }
        let now = Timestamp::now();
        for (job, due) in jobs.iter().zip(&mut due) {
            let Some(planned) = due.filter(|due| *due <= now) else {
                continue;
            };
            match enqueue(&shared, job, planned).await {
                Ok(enqueued) => {
                    outage.over();
                    tracing::debug!(name = job.name, %planned, ?enqueued, "cron job");
                    *due = job.next(now);
                }
                Err(error) if error.class() == crate::error::ErrorClass::Unavailable => {
                    // It stays due.
                    let pause = outage.failed(&error);
                    if !shared.pause(pause).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(
                        name = job.name,
                        code = error.code(),
                        "a cron job is refused: {}",
                        with_causes(&error)
                    );
                    *due = job.next(now);
                }
            }
        }
    }
}

async fn enqueue(shared: &Shared, job: &Planned, planned: Timestamp) -> Result<Enqueued, Error> {
    shared.client.enqueue(job.call(planned)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(schedule: &str, timezone: Option<&str>) -> Result<Planned, Error> {
        let config = Config {
            function: "f".to_owned(),
            schedule: schedule.to_owned(),
            timezone: timezone.map(str::to_owned),
            args: vec!["{now}".into(), "now".into()],
            kwargs: serde_json::Map::new(),
        };
        Planned::new("nightly", &config)
    }

    #[test]
    fn the_id_is_the_planned_time_and_so_the_same_for_all_workers() {
        let job = planned("0 3 * * *", None).unwrap();
        let due = job.next(Timestamp::EPOCH).unwrap();
        let call = job.call(due).unwrap();
        assert_eq!(call.id.as_str(), "cron:nightly:10800000");
        assert_eq!(call.args[0].as_str(), Some("1970-01-01T03:00:00Z"));
        assert_eq!(call.args[1].as_str(), Some("now"));
    }

    #[test]
    fn mistakes_name_their_option() {
        let error = planned("0 3 * *", None).err().unwrap().to_string();
        assert!(
            error.contains("`jobs.cron.nightly.schedule`: `0 3 * *` has 4 fields"),
            "{error}"
        );
        let error = planned("0 3 * * *", Some("Mars/Olympus"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("`jobs.cron.nightly.timezone`"), "{error}");
    }
}
