//! One run for several calls: their rows joined, run, and handed back to each.
//!
//! A run that fails is repeated call by call, so that one bad call fails alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::pace::Pace;
use super::queue::{Answer, Waiting, bury};
use super::rows;
use crate::inference::Input;
use crate::inference::pool::{Lease, Run};
use crate::telemetry::metrics::QueueMetrics;

/// Calls that were taken out of the queue together. Dropped without a run, it tells each caller that the server stops.
pub(super) struct Batch {
    pub(super) calls: Vec<Waiting>,
    pub(super) metrics: QueueMetrics,
    /// Set once a merged run gave outputs that do not come apart.
    pub(super) uneven: Arc<AtomicBool>,
    pub(super) pace: Arc<Pace>,
}

impl Batch {
    /// Rows to run, as far as that is known.
    pub(super) fn n_rows(&self) -> usize {
        self.calls.iter().map(|call| call.n_rows.unwrap_or(1)).sum()
    }

    /// Runs the calls and answers each of them. Those that nobody wants any more are left out.
    pub(super) fn run(self, lease: &mut Lease) {
        let now = Instant::now();
        let mut calls = Vec::with_capacity(self.calls.len());
        for call in self.calls {
            if call.is_dead(now) {
                bury(call, &self.metrics);
            } else {
                calls.push(call);
            }
        }
        let merged = match calls.len() {
            0 | 1 => None,
            _ => run_merged(&calls, lease, &self.metrics, &self.uneven, &self.pace),
        };
        let Some(runs) = merged else {
            for call in calls {
                run_alone(call, lease, &self.metrics, &self.pace);
            }
            return;
        };
        for (call, run) in calls.into_iter().zip(runs) {
            answer(call, Ok(run));
        }
    }
}

/// One outcome for each call; `None` if they have to run one by one.
fn run_merged(
    calls: &[Waiting],
    lease: &mut Lease,
    metrics: &QueueMetrics,
    uneven: &AtomicBool,
    pace: &Pace,
) -> Option<Vec<Run>> {
    let start = Instant::now();
    let inputs: Vec<&[Input]> = calls.iter().map(|call| call.inputs.required()).collect();
    let lengths: Option<Vec<usize>> = calls.iter().map(|call| call.n_rows).collect();
    let (inputs, lengths) = (rows::join(&inputs)?, lengths?);
    let joined = start.elapsed();
    let deadline = calls.iter().map(|call| call.deadline).max()?;
    let Ok(run) = lease.run(inputs, deadline) else {
        metrics.repeated.inc();
        return None;
    };
    pace.ran(run.took);
    let ran = Instant::now();
    let Some(outputs) = rows::split(run.outputs, &lengths) else {
        metrics.repeated.inc();
        if !uneven.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "calls are not merged any more: the model gives not one row for each row it takes"
            );
        }
        return None;
    };
    let n_rows = lengths.iter().sum();
    metrics.ran_merged(n_rows, joined, run.took, ran.elapsed());
    let runs = outputs.into_iter().map(|outputs| Run {
        outputs,
        started: run.started,
        took: run.took,
    });
    Some(runs.collect())
}

fn run_alone(mut call: Waiting, lease: &mut Lease, metrics: &QueueMetrics, pace: &Pace) {
    // Others may have run since it was looked at.
    if call.is_dead(Instant::now()) {
        return bury(call, metrics);
    }
    let inputs = std::mem::take(&mut call.inputs);
    let outcome = lease.run(inputs, call.deadline);
    if let Ok(run) = &outcome {
        pace.ran(run.took);
        metrics.ran(call.n_rows.unwrap_or(1), run.took);
    }
    answer(call, outcome);
}

fn answer(call: Waiting, outcome: Answer) {
    // Its caller may have left while it ran.
    let _ = call.answer.send(outcome);
}
