//! One job: decoded, run with a time limit, and what becomes of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::config::Policy;
use super::ending::Ending;
use super::handler::{Call, JobError};
use super::running::Interrupt;
use crate::jobs::arq::{ArqJob, ArqResult, Codec, EncodeError, Outcome, UNKNOWN};
use crate::jobs::{Claimed, JobOutcome, Keep, Lease, Settlement};
use crate::types::deadline::Deadline;
use crate::types::timestamp::Timestamp;

/// What becomes of an attempt.
enum After {
    Ended(Ending),
    Again {
        pause: Duration,
        error: JobError,
    },
    HandedBack,
    /// It is somebody else's.
    Nothing,
}

/// An attempt, as far as its job could be decoded.
struct Attempt {
    lease: Lease,
    started: Timestamp,
    /// What it calls, and the codec to answer in.
    called: Option<(Call, Codec)>,
    /// The function, if there is one of that name.
    function: &'static str,
    policy: Policy,
}

/// How often the end of a job is told before its result is stored without.
const TELLINGS: u32 = 5;

/// Runs one attempt and sends what is to be settled.
pub(super) async fn run(
    shared: &Arc<Shared>,
    claimed: Claimed,
    settlements: &mpsc::Sender<Settlement>,
) {
    let interrupt = shared.running.insert(claimed.lease.clone());
    shared.metrics.running(shared.running.len());
    let decoded = claimed.body.map(|body| shared.client.wire().decode(&body));
    let (decoded, undecodable) = match decoded {
        None => (None, Ending::Expired),
        Some(Err(error)) => {
            let id = &claimed.lease.id;
            tracing::warn!(%id, "a job cannot be decoded and is moved to the dead ones: {error}");
            (None, Ending::Undecodable)
        }
        Some(Ok(decoded)) => (Some(decoded), Ending::Undecodable),
    };
    let attempt = Attempt::new(shared, claimed.lease, decoded);
    let after = match &attempt.called {
        None => After::Ended(undecodable),
        Some((call, _)) => {
            // A request to end it that is older than the job meant another one of the same id.
            let aborted = claimed.abort_requested;
            let aborted = aborted.is_some_and(|at| at >= call.enqueued_at)
                || is_about_to_be_aborted(shared, &attempt.lease).await;
            match aborted {
                true => After::Ended(Ending::Aborted),
                false => attempt.run(shared, call, interrupt).await,
            }
        }
    };
    shared.running.ended(&attempt.lease.id);
    attempt.finish(shared, after, settlements).await;
}

impl Attempt {
    fn new(shared: &Shared, mut lease: Lease, decoded: Option<(ArqJob, Codec)>) -> Self {
        let function = decoded.as_ref();
        let function = function.map_or("", |(job, _)| shared.label(&job.function));
        let policy = shared.policy(function);
        let called = decoded.map(|(job, codec)| {
            if let Some(first) = job.job_try
                && first > lease.attempt
            {
                lease.attempt = first;
                shared.running.renumber(&lease.id, first);
            }
            let call = Call {
                id: lease.id.clone(),
                function: job.function,
                args: job.args,
                kwargs: job.kwargs,
                attempt: lease.attempt,
                enqueued_at: job.enqueued_at,
                deadline: Deadline::after(policy.timeout),
            };
            (call, codec)
        });
        Self {
            lease,
            started: Timestamp::now(),
            called,
            function,
            policy,
        }
    }

    async fn run(
        &self,
        shared: &Shared,
        call: &Call,
        interrupt: oneshot::Receiver<Interrupt>,
    ) -> After {
        if self.function.is_empty() {
            let function = call.function.clone();
            return After::Ended(Ending::UnknownFunction { function });
        }
        if self.lease.attempt > self.policy.tries {
            let tries = self.policy.tries;
            return After::Ended(Ending::TooManyTries { tries });
        }
        let waited = call.enqueued_at.age_at(self.started);
        shared.metrics.waited(self.function, waited);
        let begun = tokio::time::Instant::now();
        let run = AssertUnwindSafe(shared.handler.run(call)).catch_unwind();
        let after = tokio::select! {
            biased;
            why = told(interrupt) => match why {
                Interrupt::Abort => After::Ended(Ending::Aborted),
                Interrupt::Lost => After::Nothing,
            },
            () = shared.release.cancelled() => After::HandedBack,
            ran = tokio::time::timeout_at(call.deadline.instant(), run) => match ran {
                Err(_) => After::Ended(Ending::TimedOut),
                Ok(Err(_)) => After::Ended(Ending::Panicked),
                Ok(Ok(Ok(value))) => After::Ended(Ending::Done(value)),
                Ok(Ok(Err(error))) => self.failed(error),
            },
        };
        shared.metrics.ran(self.function, begun.elapsed());
        after
    }

    fn failed(&self, error: JobError) -> After {
        let attempt = self.lease.attempt;
        if error.may_pass() && attempt < self.policy.tries {
            let pause = self.policy.backoff.after(attempt);
            return After::Again { pause, error };
        }
        After::Ended(Ending::Failed(error))
    }

    async fn finish(self, shared: &Shared, after: After, settlements: &mpsc::Sender<Settlement>) {
        let id = &self.lease.id;
        let (lease, outcome) = match after {
            After::Nothing => {
                tracing::warn!(%id, "the job's lease ran out while it ran; it is dropped here");
                shared.metrics.lost();
                shared.running.remove(id);
                return;
            }
            After::HandedBack => (self.lease, JobOutcome::Released),
            After::Again { pause, error } => {
                let attempt = self.lease.attempt;
                count(&shared.counts.retried);
                shared.metrics.retried(self.function, error.code);
                tracing::info!(%id, attempt, code = error.code, ?pause, "a job is tried again: {error}");
                (self.lease, JobOutcome::Retry { after: pause })
            }
            After::Ended(ending) => {
                if let Some((call, _)) = &self.called {
                    tell(shared, call, &ending).await;
                }
                self.end(shared, ending)
            }
        };
        // Whoever settles goes on for as long as there is a sender.
        let _ = settlements.send(Settlement { lease, outcome }).await;
    }

    fn end(self, shared: &Shared, ending: Ending) -> (Lease, JobOutcome) {
        let Self {
            lease,
            started,
            called,
            function,
            policy,
        } = self;
        let (call, codec) = match called {
            Some((call, codec)) => (Some(call), codec),
            None => (None, shared.client.wire().codec()),
        };
        let mut result = result_of(&lease, call, started, shared.client.wire().queue());
        let (ending, bytes) = encoded(shared, &mut result, codec, ending);
        match ending.is_success() {
            true => count(&shared.counts.complete),
            false => count(&shared.counts.failed),
        }
        shared.metrics.ended(function, ending.code());
        log(&lease, function, &ending);
        let keep = keep(policy.keep_result);
        let outcome = match ending.dead_reason() {
            None => JobOutcome::Complete {
                result: bytes,
                keep,
            },
            Some(reason) => JobOutcome::Dead {
                result: bytes,
                keep,
                reason,
            },
        };
        (lease, outcome)
    }
}

/// arq's client aborts a deferred job in two steps: it moves it to this place in the queue, where we find it at once, and then
/// says that it is to end.
const PLACE_OF_ABORTED: f64 = 1.0;
/// How long the second step may take.
const SECOND_STEP: Duration = Duration::from_millis(250);

async fn is_about_to_be_aborted(shared: &Shared, lease: &Lease) -> bool {
    if lease.place != PLACE_OF_ABORTED {
        return false;
    }
    let aborted = shared
        .queue()
        .aborted(std::slice::from_ref(&lease.id), SECOND_STEP);
    aborted.await.is_ok_and(|aborted| !aborted.is_empty())
}

/// Resolves when the job is to be ended from outside, and only then.
async fn told(interrupt: oneshot::Receiver<Interrupt>) -> Interrupt {
    match interrupt.await {
        Ok(why) => why,
        Err(_) => std::future::pending().await,
    }
}

/// The handler hears of the end before the result can be read, so that nothing is forgotten if the worker dies between.
async fn tell(shared: &Shared, call: &Call, ending: &Ending) {
    for telling in 1..=TELLINGS {
        match shared.handler.ending(call, ending.is_success()).await {
            Ok(()) => return,
            Err(error) if telling < TELLINGS && error.may_pass() => {
                let pause = Duration::from_millis(100) * (1 << telling);
                tokio::select! {
                    () = shared.release.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(id = %call.id, code = error.code, "nobody is told of the job's end: {error}");
                return;
            }
        }
    }
}

/// A result that says nothing yet.
fn result_of(lease: &Lease, call: Option<Call>, started: Timestamp, queue: &str) -> ArqResult {
    let finished = Timestamp::now();
    let (function, args, kwargs, enqueued) = match call {
        Some(call) => (call.function, call.args, call.kwargs, call.enqueued_at),
        None => (UNKNOWN.to_owned(), Vec::new(), Vec::new(), Timestamp::EPOCH),
    };
    ArqResult {
        job_try: lease.attempt,
        function,
        args,
        kwargs,
        enqueued_at: enqueued,
        outcome: Outcome::Returned(crate::jobs::value::Value::None),
        started_at: started,
        finished_at: finished,
        queue: queue.to_owned(),
        job_id: lease.id.to_string(),
    }
}

/// The result's bytes. One that cannot be stored becomes a failure that says so.
fn encoded(
    shared: &Shared,
    result: &mut ArqResult,
    codec: Codec,
    ending: Ending,
) -> (Ending, Bytes) {
    let limit = shared.max_result;
    let is_success = ending.is_success();
    // The value is moved, since it may be large; what is told of a success afterwards is only that it was one.
    let told = match &ending {
        Ending::Done(_) => Ending::Done(crate::jobs::value::Value::None),
        other => other.clone(),
    };
    let problem = match encode(shared, result, codec, ending) {
        Ok(bytes) if bytes.len() <= limit => return (told, bytes),
        Ok(bytes) => Ending::ResultTooLarge {
            n_bytes: bytes.len(),
            limit,
        },
        Err(error) => Ending::ResultUnencodable {
            problem: error.to_string(),
        },
    };
    let ending = if is_success { problem } else { told };
    // What was called may be what is too large, or cannot be written.
    if let Ok(bytes) = encode(shared, result, codec, ending.clone())
        && bytes.len() <= limit
    {
        return (ending, bytes);
    }
    result.args = Vec::new();
    result.kwargs = Vec::new();
    let bytes = encode(shared, result, codec, ending.clone());
    (ending, bytes.unwrap_or_default())
}

fn encode(
    shared: &Shared,
    result: &mut ArqResult,
    codec: Codec,
    ending: Ending,
) -> Result<Bytes, EncodeError> {
    result.outcome = ending.into_outcome();
    shared.client.wire().encode_result(result, codec)
}

fn log(lease: &Lease, function: &str, ending: &Ending) {
    let (id, attempt, code) = (&lease.id, lease.attempt, ending.code());
    match ending.problem() {
        None => tracing::debug!(%id, function, attempt, "job complete"),
        Some(problem) if ending.is_ours() => {
            tracing::error!(%id, function, attempt, code, "job failed: {problem}");
        }
        Some(problem) => tracing::info!(%id, function, attempt, code, "job failed: {problem}"),
    }
}

fn keep(time: Duration) -> Keep {
    if time.is_zero() {
        Keep::No
    } else {
        Keep::For(time)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
