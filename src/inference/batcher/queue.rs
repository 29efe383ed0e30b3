//! The calls of one model that wait for an engine, by priority and then in order of arrival.
//!
//! Bounded in calls and in rows; a call that finds no room is refused at once. A call of low priority finds room only
//! as long as half of the places are free. A caller that goes away leaves its place.
//! Not here: who runs what waits (`batcher`).

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::rows;
use crate::inference::pool::Run;
use crate::inference::{Error, Inputs};
use crate::telemetry::metrics::QueueMetrics;
use crate::types::deadline::Deadline;
use crate::types::urgency::{Priority, Urgency};

pub(super) type Answer = Result<Run, Error>;

/// A call that waits for its answer.
pub(super) struct Waiting {
    id: u64,
    pub(super) inputs: Inputs,
    /// Rows that may stand in one run with those of others; absent if it has to run alone.
    pub(super) n_rows: Option<usize>,
    pub(super) deadline: Deadline,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Waiting {
    /// Whether nobody wants it to run any more. Who waited too long is told so.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.answer.is_closed() || self.deadline.instant() <= now
    }
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(in crate::inference) struct Limits {
    pub(in crate::inference) calls: NonZeroUsize,
    /// A single call may have more.
    pub(in crate::inference) rows: NonZeroUsize,
}

pub(super) struct Queue {
    limits: Limits,
    waiting: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    /// One for each priority, the most urgent first.
    lanes: [VecDeque<Waiting>; Priority::ALL.len()],
    n_calls: usize,
    n_rows: usize,
    next_id: u64,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: Mutex::default(),
        }
    }

    /// Takes a place; `alone` for a call that goes into no run with others.
    ///
    /// Errors: `Overloaded`, without a time to try again, which the caller knows.
    pub(super) fn push(
        &self,
        inputs: Inputs,
        alone: bool,
        urgency: Urgency,
        answer: oneshot::Sender<Answer>,
        metrics: &QueueMetrics,
    ) -> Result<Place<'_>, Error> {
        // What may be left out seldom has rows; a call that gives it goes alone.
        let alone = alone || !inputs.optional().is_empty();
        let n_rows = rows::n_rows(inputs.required()).filter(|_| !alone);
        let mut waiting = self.lock();
        self.check_room(&waiting, rows_of(&inputs), urgency.priority)
            .inspect_err(|_| metrics.refused.inc())?;
        let id = waiting.next_id;
        waiting.next_id += 1;
        waiting.n_calls += 1;
        waiting.n_rows += rows_of(&inputs);
        waiting.lanes[urgency.priority as usize].push_back(Waiting {
            id,
            inputs,
            n_rows,
            deadline: urgency.deadline,
            answer,
        });
        Ok(Place {
            queue: self,
            id,
            lane: urgency.priority as usize,
        })
    }

    fn check_room(&self, waiting: &Lanes, n_rows: usize, priority: Priority) -> Result<(), Error> {
        let Limits { calls, rows } = self.limits;
        let may_have = |limit: usize| match priority {
            Priority::High | Priority::Normal => limit,
            Priority::Low => limit.div_ceil(2),
        };
        if waiting.n_calls >= may_have(calls.get()) {
            return Err(Error::Overloaded {
                max_waiting: calls,
                retry_after: Duration::ZERO,
            });
        }
        if waiting.n_calls > 0 && waiting.n_rows + n_rows > may_have(rows.get()) {
            return Err(Error::OverloadedRows {
                max_rows: rows,
                retry_after: Duration::ZERO,
            });
        }
        Ok(())
    }

    /// How many runs it takes until nothing waits any more.
    pub(super) fn n_runs(&self, max_rows: usize) -> usize {
        let waiting = self.lock();
        match max_rows {
            0 => waiting.n_calls,
            _ => waiting.n_rows.div_ceil(max_rows).min(waiting.n_calls),
        }
    }

    /// Rows of the next run, as things stand: what `take` would give, without regard to shapes.
    pub(super) fn rows_at_hand(&self, max_rows: usize) -> usize {
        let waiting = self.lock();
        let Some(first) = waiting.lanes.iter().find_map(VecDeque::front) else {
            return 0;
        };
        match first.n_rows {
            Some(n_rows) => waiting.n_rows.min(max_rows).max(n_rows),
            None => rows_of(&first.inputs),
        }
    }

    /// The calls of the next run: the first one, and further ones that go together with it, up to `max_rows` rows between
    /// them. Calls that nobody wants any more are dropped on the way; an expired one is told so.
    pub(super) fn take(&self, max_rows: usize, metrics: &QueueMetrics) -> Vec<Waiting> {
        let now = Instant::now();
        let mut taken: Vec<Waiting> = Vec::new();
        let mut n_rows = 0;
        let mut waiting = self.lock();
        for lane in 0..Priority::ALL.len() {
            let mut place = 0;
            while let Some(call) = waiting.lanes[lane].get(place) {
                if call.is_dead(now) {
                    if let Some(call) = waiting.remove(lane, place) {
                        bury(call, metrics);
                    }
                    continue;
                }
                let fits = match (taken.first(), call.n_rows) {
                    (None, _) => true,
                    (Some(first), Some(more)) => {
                        first.n_rows.is_some()
                            && n_rows + more <= max_rows
                            && rows::go_together(first.inputs.required(), call.inputs.required())
                    }
                    (Some(_), None) => false,
                };
                if !fits {
                    place += 1;
                    continue;
                }
                n_rows += call.n_rows.unwrap_or(0);
                taken.extend(waiting.remove(lane, place));
                let is_full = n_rows >= max_rows;
                if is_full || taken.first().is_some_and(|first| first.n_rows.is_none()) {
                    return taken;
                }
            }
        }
        taken
    }

    #[cfg(test)]
    pub(super) fn n_calls(&self) -> usize {
        self.lock().n_calls
    }

    /// The sections are short and none of them can panic between two changes.
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    fn remove(&mut self, lane: usize, place: usize) -> Option<Waiting> {
        let call = self.lanes[lane].remove(place)?;
        self.n_calls -= 1;
        self.n_rows -= rows_of(&call.inputs);
        Some(call)
    }
}

/// Ends a call that must not run any more.
pub(super) fn bury(call: Waiting, metrics: &QueueMetrics) {
    if call.answer.is_closed() {
        metrics.abandoned.inc();
    } else {
        metrics.expired.inc();
        // Its caller may be leaving just now.
        let _ = call.answer.send(Err(Error::DeadlineExceeded));
    }
}

/// What counts against the limit of rows.
fn rows_of(inputs: &Inputs) -> usize {
    let first = inputs
        .required()
        .first()
        .and_then(|input| input.shape().first());
    first.copied().unwrap_or(1)
}

/// A place in the queue. Dropping it takes the call out, unless it was taken out to run.
pub(super) struct Place<'a> {
    queue: &'a Queue,
    id: u64,
    lane: usize,
}

impl Place<'_> {
    /// The call was taken out, so nothing need be looked for.
    pub(super) fn left(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        let mine = |call: &Waiting| call.id.cmp(&self.id);
        // Ids ascend within a lane.
        if let Ok(place) = waiting.lanes[self.lane].binary_search_by(mine) {
            waiting.remove(self.lane, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::types::tensor::Tensor;

    fn inputs(n_rows: usize, width: usize) -> Inputs {
        vec![Tensor::Float32(ArrayD::zeros(IxDyn(&[n_rows, width])))].into()
    }

    fn queue(calls: usize, rows: usize) -> Queue {
        Queue::new(Limits {
            calls: NonZeroUsize::new(calls).unwrap(),
            rows: NonZeroUsize::new(rows).unwrap(),
        })
    }

    struct Caller<'a> {
        _place: Place<'a>,
        answer: oneshot::Receiver<Answer>,
    }

    fn push<'a>(queue: &'a Queue, inputs: Inputs, priority: Priority) -> Result<Caller<'a>, Error> {
        let (sender, answer) = oneshot::channel();
        let urgency = Urgency {
            deadline: Deadline::after(Duration::from_secs(1)),
            priority,
        };
        let place = queue.push(inputs, false, urgency, sender, &QueueMetrics::default())?;
        Ok(Caller {
            _place: place,
            answer,
        })
    }

    fn take(queue: &Queue, max_rows: usize) -> Vec<usize> {
        let taken = queue.take(max_rows, &QueueMetrics::default());
        taken.iter().map(|call| call.n_rows.unwrap()).collect()
    }

    #[tokio::test]
    async fn urgent_calls_go_first_and_calls_of_one_priority_in_order() {
        let queue = queue(8, 100);
        let order = [
            (1, Priority::Low),
            (2, Priority::Normal),
            (3, Priority::High),
            (4, Priority::Normal),
        ];
        let callers: Vec<_> = order
            .into_iter()
            .map(|(n_rows, priority)| push(&queue, inputs(n_rows, 1), priority).ok().unwrap())
            .collect();
        assert_eq!(queue.rows_at_hand(6), 6);
        assert_eq!(take(&queue, 5), [3, 2]);
        assert_eq!(take(&queue, 5), [4, 1]);
        assert_eq!(take(&queue, 5), [0; 0]);
        drop(callers);
    }

    #[tokio::test]
    async fn a_call_of_another_shape_waits_for_a_run_of_its_own() {
        let queue = queue(8, 100);
        let _callers = [(1, 1), (2, 7), (3, 1)]
            .map(|(n_rows, width)| push(&queue, inputs(n_rows, width), Priority::Normal).ok());
        assert_eq!(take(&queue, 10), [1, 3]);
        assert_eq!(take(&queue, 10), [2]);
    }

    #[tokio::test]
    async fn a_call_larger_than_a_merged_run_may_be_runs_alone() {
        let queue = queue(8, 100);
        let _callers = [50, 1].map(|n| push(&queue, inputs(n, 1), Priority::Normal).ok());
        assert_eq!(queue.rows_at_hand(10), 50);
        assert_eq!(take(&queue, 10), [50]);
        assert_eq!(take(&queue, 10), [1]);
    }

    #[tokio::test]
    async fn calls_and_rows_that_wait_are_bounded_and_low_priority_has_half_the_room() {
        let narrow = queue(4, 100);
        let mut callers = Vec::new();
        for _ in 0..2 {
            callers.push(push(&narrow, inputs(1, 1), Priority::Low).ok().unwrap());
        }
        let refused = push(&narrow, inputs(1, 1), Priority::Low).err().unwrap();
        assert!(matches!(refused, Error::Overloaded { .. }), "{refused}");
        for _ in 0..2 {
            callers.push(push(&narrow, inputs(1, 1), Priority::Normal).ok().unwrap());
        }
        assert!(push(&narrow, inputs(1, 1), Priority::High).is_err());
        callers.pop();
        assert!(push(&narrow, inputs(1, 1), Priority::High).is_ok());

        let shallow = queue(8, 10);
        let whole = push(&shallow, inputs(99, 1), Priority::Normal)
            .ok()
            .unwrap();
        let refused = push(&shallow, inputs(1, 1), Priority::Normal)
            .err()
            .unwrap();
        assert!(matches!(refused, Error::OverloadedRows { .. }), "{refused}");
        drop(whole);
        assert_eq!(shallow.n_calls(), 0);
        assert!(push(&shallow, inputs(10, 1), Priority::Normal).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn expired_and_abandoned_calls_are_not_taken() {
        let queue = queue(8, 100);
        let late = push(&queue, inputs(1, 1), Priority::Normal).ok().unwrap();
        tokio::time::advance(Duration::from_millis(1500)).await;
        let abandoned = push(&queue, inputs(2, 1), Priority::Normal).ok().unwrap();
        let Caller { _place, answer } = abandoned;
        drop(answer);
        let _wanted = push(&queue, inputs(3, 1), Priority::Normal).ok().unwrap();
        let metrics = QueueMetrics::default();
        let taken = queue.take(10, &metrics);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].n_rows, Some(3));
        assert_eq!((metrics.expired.get(), metrics.abandoned.get()), (1, 1));
        let told = late.answer.await.unwrap().err().unwrap();
        assert!(matches!(told, Error::DeadlineExceeded), "{told}");
    }
}
