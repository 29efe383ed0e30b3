//! Judges a newer version before the model's plain name moves to it, by what it answers to recorded predictions; and runs
//! recent ones on a version that was just loaded, so that it serves warm.
//!
//! ```text
//! audit::recent      what other versions answered in the last `replay`, the newest rows
//!   replay           the same inputs and features on the newer version
//!     verdict        within the limits: passed; beyond one: refused; too few rows: passed, unjudged
//!   reports          the differences, on disk
//! ```
//! Rows that were redacted, or that the event does not say enough of, are left out and counted by reason.
//! Not here: when a version is judged and what a refusal does (`models/watcher`).

mod config;
mod error;
mod reports;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(super) use config::checked;
pub use config::{Config, Share};
pub use reports::Reports;

use self::error::Error;
use super::ServingPlan;
use super::replay::{self, Comparison, Unanswered};
use crate::audit::read;
use crate::audit::recent::{Recent, Trail, Wanted};
use crate::models::{ServedVersion, Verdict};
use crate::shutdown::run_blocking;
use crate::types::deadline::Deadline;
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

/// How far back the requests are that a version is warmed up with, and what that may cost.
const WARM_UP_AGE: Duration = Duration::from_secs(24 * 3600);
const WARM_UP_READ: u64 = 1 << 20;
const WARM_UP_LIMIT: Duration = Duration::from_secs(1);

type Version = Arc<ServedVersion<ServingPlan>>;

/// What versions are judged by: the events on record, and where the reports go.
#[derive(Debug, Clone)]
pub struct Record {
    pub trail: Trail,
    pub reports: Reports,
}

impl Record {
    /// Whether the plain name may move to `candidate` from the version that serves. Blocks nothing: what takes long runs on
    /// the blocking pool, or gives way between two events.
    pub(super) async fn judge(
        self,
        config: Config,
        candidate: Version,
        served: ModelVersion,
    ) -> Verdict {
        let deadline = Deadline::after(config.timeout);
        let judged = self.replay(&config, &candidate, deadline).await;
        let (comparison, is_complete) = match judged {
            Ok(judged) => judged,
            Err(error) => return Verdict::Failed(Box::new(error)),
        };
        let case = Case {
            config,
            candidate,
            served,
            comparison,
            is_complete,
        };
        let decided = run_blocking(move || case.decide(&self.reports)).await;
        decided.unwrap_or_else(|error| Verdict::Failed(Box::new(Error::of(error))))
    }

    /// What the candidate answers to the newest events, and whether those were all.
    async fn replay(
        &self,
        config: &Config,
        candidate: &Version,
        deadline: Deadline,
    ) -> Result<(Comparison, bool), Error> {
        let since = config.replay.unwrap_or_default();
        let wanted = Wanted {
            model: candidate.name.to_string(),
            other_than: Some(candidate.version.to_string()),
            since: ago(since),
            max_rows: config.max_rows.get(),
            max_read: u64::MAX,
            // The other half is for the replay.
            deadline: Instant::now() + config.timeout / 2,
        };
        let trail = self.trail.clone();
        let reading = run_blocking(move || trail.everywhere(wanted));
        let recent = match tokio::time::timeout_at(deadline.instant(), reading).await {
            Ok(recent) => recent.map_err(Error::of)?.map_err(Error::of)?,
            Err(_) => return Err(Error::of(format!("no end within {:?}", config.timeout))),
        };
        let mut comparison = Comparison::default();
        let dropped = self.dropped(&candidate.plan);
        let mut is_complete = recent.is_complete;
        for event in &recent.events {
            if let Some(column) = &dropped {
                comparison.leave_out(format!("`{column}` is left out of events (`audit.redact`)"));
                continue;
            }
            let event: Value = serde_json::from_slice(event).map_err(Error::of)?;
            if !replay::compare_one(candidate, &event, deadline, &mut comparison).await {
                is_complete = false;
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok((comparison, is_complete))
    }

    /// A column of the model that no event has.
    fn dropped(&self, plan: &ServingPlan) -> Option<String> {
        let mut columns = plan
            .slots
            .iter()
            .filter(|(_, slot)| !slot.columns.is_empty());
        let dropped = columns.find(|(name, _)| self.trail.drops(name));
        dropped.map(|(name, _)| name.clone())
    }

    /// Runs the newest recorded requests on a version that is loaded. What fails there is only told: it kept nobody from an
    /// answer.
    pub(super) async fn warm_up(&self, version: &ServedVersion<ServingPlan>, max_rows: usize) {
        let (name, number) = (&version.name, version.version);
        let recent = match self.recent(name, max_rows).await {
            Ok(recent) if recent.events.is_empty() => return,
            Ok(recent) => recent,
            Err(error) => {
                tracing::debug!(model = %name, version = %number, %error, "there are no recorded requests to warm up with");
                return;
            }
        };
        let deadline = Deadline::after(WARM_UP_LIMIT);
        let dropped = self.dropped(&version.plan);
        let (mut n_run, mut not_run) = (0, None);
        for event in &recent.events {
            let run = match (&dropped, serde_json::from_slice::<Value>(event)) {
                (Some(column), _) => Err(Unanswered::LeftOut(format!(
                    "`{column}` is left out of events (`audit.redact`)"
                ))),
                (None, Ok(event)) => replay::answer(version, &event, deadline).await,
                (None, Err(error)) => Err(Unanswered::LeftOut(error.to_string())),
            };
            match run {
                Ok(_) => n_run += 1,
                Err(Unanswered::Late) => break,
                Err(unanswered) => not_run = Some(unanswered.reason()),
            }
            tokio::task::yield_now().await;
        }
        let of = recent.events.len();
        tracing::info!(
            model = %name, version = %number, not_run,
            "warmed up with {n_run} of {of} recent requests"
        );
    }

    async fn recent(&self, model: &str, max_rows: usize) -> Result<Recent, read::Error> {
        let wanted = Wanted {
            model: model.to_owned(),
            other_than: None,
            since: ago(WARM_UP_AGE),
            max_rows,
            max_read: WARM_UP_READ,
            deadline: Instant::now() + WARM_UP_LIMIT,
        };
        let trail = self.trail.clone();
        let read = run_blocking(move || trail.on_disk(wanted)).await;
        read.map_err(std::io::Error::other)?
    }
}

fn ago(time: Duration) -> Timestamp {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(micros))
}

/// Everything that a verdict rests on.
struct Case {
    config: Config,
    candidate: Version,
    served: ModelVersion,
    comparison: Comparison,
    /// Every row that was wanted was replayed.
    is_complete: bool,
}

impl Case {
    /// Blocks on the disk.
    fn decide(&self, reports: &Reports) -> Verdict {
        let n_rows = self.comparison.n_rows();
        if n_rows < self.config.min_rows.get() {
            if let Some(error) = self.stands(reports) {
                return Verdict::Refused(Box::new(error));
            }
            let wanted = self.config.min_rows;
            let left_out = self.left_out();
            let sentence = format!(
                "passed unjudged: {n_rows} recorded rows could be replayed, and `min_rows` is {wanted}{left_out}"
            );
            self.report(reports, "unjudged", &sentence);
            return Verdict::Unjudged(sentence);
        }
        match self.beyond() {
            Some(error) => {
                self.report(reports, "refused", &error.to_string());
                Verdict::Refused(Box::new(error))
            }
            None => {
                let flips = 100.0 * self.comparison.flip_rate();
                let sentence = format!("passed: of {n_rows} recorded rows {flips:.2} % flip");
                self.report(reports, "passed", &sentence);
                Verdict::Passed(sentence)
            }
        }
    }

    /// The first limit that the candidate goes beyond.
    fn beyond(&self) -> Option<Error> {
        let (config, comparison) = (&self.config, &self.comparison);
        let n_rows = comparison.n_rows();
        if let Some(limit) = config.max_flip_rate
            && comparison.flip_rate() > limit.get()
        {
            return Some(Error::Flips {
                n_rows,
                actual: comparison.flip_rate(),
                limit,
            });
        }
        let within = config.change_quantile;
        if let (Some(limit), Some((output, actual))) =
            (config.max_change, comparison.change_within(within.get()))
            && actual > limit
        {
            return Some(Error::Changes {
                output: output.to_owned(),
                n_rows,
                within,
                actual,
                limit,
            });
        }
        None
    }

    /// A refusal of the same version by the same limits, which too few rows do not overturn.
    fn stands(&self, reports: &Reports) -> Option<Error> {
        let before = reports
            .read_now(&self.candidate.name, self.candidate.version)
            .ok()??;
        let is_same = before["outcome"] == "refused" && before["subject"] == self.subject();
        is_same.then(|| Error::Stands {
            judged_at: before["judged_at"].as_str().unwrap_or_default().to_owned(),
            reason: before["reason"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// What must be the same for a verdict to be on the same question.
    fn subject(&self) -> Value {
        let candidate = &self.candidate;
        json!({
            "n_bytes": candidate.n_bytes,
            "model_uuid": candidate.model_uuid,
            "utc_time_created": candidate.utc_time_created,
            "limits": self.limits(),
        })
    }

    fn limits(&self) -> Value {
        let Config {
            max_flip_rate,
            max_change,
            change_quantile,
            ..
        } = &self.config;
        json!({
            "max_flip_rate": max_flip_rate,
            "max_change": max_change,
            "change_quantile": change_quantile,
        })
    }

    fn left_out(&self) -> String {
        let left_out = self.comparison.left_out();
        let n: usize = left_out.values().sum();
        match left_out.iter().max_by_key(|(_, n)| **n) {
            Some((reason, _)) => format!("; {n} predictions could not, most because {reason}"),
            None => String::new(),
        }
    }

    /// A verdict holds also where its report cannot be kept; the log tells.
    fn report(&self, reports: &Reports, outcome: &str, reason: &str) {
        let mut report = self.comparison.summary();
        report["outcome"] = json!(outcome);
        report["reason"] = json!(reason);
        report["model"] = json!(self.candidate.name);
        report["version"] = json!(self.candidate.version.to_string());
        report["served"] = json!(self.served.to_string());
        report["judged_at"] = json!(Timestamp::now());
        report["since"] = json!(ago(self.config.replay.unwrap_or_default()));
        report["is_complete"] = json!(self.is_complete);
        report["limits"] = self.limits();
        report["subject"] = self.subject();
        let (name, version) = (&self.candidate.name, self.candidate.version);
        if let Err(error) = reports.write_now(name, version, &report) {
            tracing::warn!(model = %name, %version, %error, "the report of the gate cannot be kept");
        }
    }
}
