//! Calls against engines that are scripted: what comes back, what was run, in which order.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::poll;
use ndarray::{ArrayD, IxDyn};

use super::*;
use crate::error::Failure;
use crate::inference::Engine;
use crate::inference::estimate::WarmRun;
use crate::types::deadline::Deadline;
use crate::types::tensor::{Output, Tensor};
use crate::types::urgency::Priority;

/// What an engine saw: the calls of each run, by their numbers, with the rows of each, and when.
type Log = Arc<Mutex<Vec<(BTreeMap<usize, usize>, Instant)>>>;

/// Gives `2 * value + number` for each row `[number, value, ..]`. NaN is refused, infinity makes it panic.
struct Scripted {
    log: Log,
    /// A run ends when something comes in here; at once if it is absent.
    gate: Option<mpsc::Receiver<()>>,
}

const BAD: f32 = f32::NAN;
const FATAL: f32 = f32::INFINITY;

impl Engine for Scripted {
    fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, Error> {
        let Tensor::Float32(rows) = inputs.into_tensors().remove(0) else {
            panic!("another type");
        };
        let mut calls = BTreeMap::new();
        for row in rows.outer_iter() {
            *calls.entry(row[0] as usize).or_default() += 1;
        }
        self.log.lock().unwrap().push((calls, Instant::now()));
        if let Some(gate) = &self.gate {
            gate.recv().unwrap();
        }
        let values = || rows.outer_iter().map(|row| row[1]);
        if values().any(f32::is_nan) {
            return Err(Error::Rejected {
                reason: "not a number".to_owned(),
            });
        }
        if values().any(f32::is_infinite) {
            // Without the noise of a panic.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        let outputs = rows.outer_iter().map(|row| 2.0 * row[1] + row[0]);
        Ok(vec![floats(&[rows.shape()[0]], outputs.collect()).into()])
    }
}

impl From<Tensor> for Output {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

fn floats(shape: &[usize], elements: Vec<f32>) -> Tensor {
    Tensor::Float32(ArrayD::from_shape_vec(IxDyn(shape), elements).unwrap())
}

/// Rows of a call: its number, then the value in every other column.
fn rows(number: usize, values: &[f32], width: usize) -> Vec<Tensor> {
    let row = |value: &f32| {
        let mut row = vec![*value; width];
        row[0] = number as f32;
        row
    };
    let elements = values.iter().flat_map(row).collect();
    vec![floats(&[values.len(), width], elements)]
}

fn expected(number: usize, values: &[f32]) -> Vec<Output> {
    let outputs = values.iter().map(|value| 2.0 * value + number as f32);
    vec![floats(&[values.len()], outputs.collect()).into()]
}

struct Model {
    batcher: Arc<Batcher>,
    how: How,
    log: Log,
}

struct Setup {
    n_engines: usize,
    max_waiting: usize,
    config: Config,
    /// Runs stay on their callers' threads.
    short: bool,
    /// And they cost as much whatever their rows, so that it pays to let others come first.
    sociable: bool,
}

fn config(max_rows: usize) -> Config {
    Config {
        max_rows: NonZeroUsize::new(max_rows).unwrap(),
        ..Config::default()
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            n_engines: 1,
            max_waiting: 100,
            config: config(100),
            short: true,
            sociable: false,
        }
    }
}

impl Model {
    fn new(setup: &Setup) -> Self {
        let cores = Arc::new(Semaphore::new(setup.n_engines));
        Self::with(setup, cores, || None)
    }

    fn with(setup: &Setup, cores: Cores, gate: impl Fn() -> Option<mpsc::Receiver<()>>) -> Self {
        let log = Log::default();
        let engine = |_| {
            let log = Arc::clone(&log);
            Box::new(Scripted { log, gate: gate() }) as Box<dyn Engine>
        };
        let limits = Limits {
            calls: NonZeroUsize::new(setup.max_waiting).unwrap(),
            rows: const { NonZeroUsize::new(1000).unwrap() },
        };
        let pool = Pool::new((0..setup.n_engines).map(engine).collect());
        let took = Duration::from_micros(if setup.sociable { 5 } else { 0 });
        let run = |n_rows| WarmRun { n_rows, took };
        Self {
            batcher: Batcher::new(pool, limits, cores),
            how: How {
                config: setup.config,
                merges: true,
                estimate: Estimate {
                    warm_run: setup.short.then(|| run(1)),
                    large_run: setup.short.then(|| run(32)),
                },
                metrics: QueueMetrics::default(),
            },
            log,
        }
    }

    async fn call(
        &self,
        number: usize,
        values: &[f32],
        urgency: impl Into<Urgency>,
    ) -> Result<Vec<Output>, Error> {
        self.shaped_call(number, values, 2, urgency.into()).await
    }

    async fn shaped_call(
        &self,
        number: usize,
        values: &[f32],
        width: usize,
        urgency: Urgency,
    ) -> Result<Vec<Output>, Error> {
        let inputs = rows(number, values, width).into();
        let run = self
            .batcher
            .infer(inputs, Some(values.len()), urgency, &self.how);
        Ok(run.await?.outputs)
    }

    /// The numbers of the calls of each run.
    fn runs(&self) -> Vec<Vec<usize>> {
        let log = self.log.lock().unwrap();
        log.iter()
            .map(|(calls, _)| calls.keys().copied().collect())
            .collect()
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// Polls each once.
macro_rules! assert_pending {
    ($($call:ident),*) => { $(assert!(poll!(&mut $call).is_pending());)* };
}

#[tokio::test]
async fn a_call_that_finds_an_engine_free_runs_at_once_and_alone() {
    let model = Model::new(&Setup::default());
    let mut call = std::pin::pin!(model.call(1, &[0.5], soon()));
    let Poll::Ready(outcome) = poll!(&mut call) else {
        panic!("it waited");
    };
    assert_eq!(outcome.unwrap(), expected(1, &[0.5]));
}

#[tokio::test]
async fn calls_that_waited_for_an_engine_become_one_run_and_each_gets_its_own_rows() {
    let model = Model::new(&Setup::default());
    let busy = model.batcher.pool.try_claim().unwrap();
    let mut first = std::pin::pin!(model.call(1, &[0.1, 0.2], soon()));
    let mut second = std::pin::pin!(model.call(2, &[0.3], soon()));
    let mut third = std::pin::pin!(model.call(3, &[0.4, 0.5, 0.6], soon()));
    assert_pending!(first, second, third);
    drop(busy);
    assert_eq!(first.await.unwrap(), expected(1, &[0.1, 0.2]));
    assert_eq!(second.await.unwrap(), expected(2, &[0.3]));
    assert_eq!(third.await.unwrap(), expected(3, &[0.4, 0.5, 0.6]));
    assert_eq!(model.runs(), [[1, 2, 3]]);
}

#[tokio::test]
async fn short_calls_that_are_ready_together_become_one_run() {
    let model = Model::new(&Setup {
        sociable: true,
        ..Setup::default()
    });
    let calls = (1..=5).map(|number| model.call(number, &[0.5], soon()));
    for (number, outcome) in (1..).zip(futures::future::join_all(calls).await) {
        assert_eq!(outcome.unwrap(), expected(number, &[0.5]));
    }
    assert_eq!(model.runs(), [[1, 2, 3, 4, 5]]);

    // Nobody else comes any more: after one look for others the next call runs at once.
    model.call(6, &[0.5], soon()).await.unwrap();
    let mut alone = std::pin::pin!(model.call(7, &[0.5], soon()));
    assert!(poll!(&mut alone).is_ready());
}

#[tokio::test]
async fn one_bad_call_of_a_merged_run_fails_alone() {
    for (bad, is_expected) in [
        (
            BAD,
            (|e| matches!(e, Error::Rejected { .. })) as fn(&Error) -> bool,
        ),
        (FATAL, |e| matches!(e, Error::Panicked)),
    ] {
        let model = Model::new(&Setup::default());
        let busy = model.batcher.pool.try_claim().unwrap();
        let mut good = std::pin::pin!(model.call(1, &[0.1], soon()));
        let values = [0.2, bad];
        let mut failing = std::pin::pin!(model.call(2, &values, soon()));
        let mut other = std::pin::pin!(model.call(3, &[0.3], soon()));
        assert_pending!(good, failing, other);
        drop(busy);
        assert_eq!(good.await.unwrap(), expected(1, &[0.1]));
        assert!(is_expected(&failing.await.unwrap_err()));
        assert_eq!(other.await.unwrap(), expected(3, &[0.3]));
        assert_eq!(model.runs(), [vec![1, 2, 3], vec![1], vec![2], vec![3]]);
        assert_eq!(model.how.metrics.repeated.get(), 1);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_is_not_run_even_if_it_was_its_turn_to_run_the_others() {
    let model = Model::new(&Setup::default());
    let busy = model.batcher.pool.try_claim().unwrap();
    let mut leader = Box::pin(model.call(1, &[0.1], soon()));
    let mut second = std::pin::pin!(model.call(2, &[0.2], soon()));
    let mut third = Box::pin(model.call(3, &[0.3], soon()));
    assert_pending!(leader, second, third);
    drop(busy);
    drop(leader);
    drop(third);
    assert_eq!(second.await.unwrap(), expected(2, &[0.2]));
    assert_eq!(model.runs(), [[2]]);
    assert_eq!(model.batcher.queue.n_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_expired_call_is_told_so_in_time_and_never_runs() {
    let model = Model::new(&Setup::default());
    let busy = model.batcher.pool.try_claim().unwrap();
    let hasty = Deadline::after(Duration::from_millis(5));
    let error = model.call(1, &[0.1], hasty).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error}");
    drop(busy);
    let error = model.call(2, &[0.1], hasty).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineExceeded), "{error}");
    assert!(model.runs().is_empty());
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let model = Model::new(&Setup {
        max_waiting: 1,
        ..Setup::default()
    });
    // So that it is known how long a run takes.
    model.call(0, &[0.1], soon()).await.unwrap();
    let _busy = model.batcher.pool.try_claim().unwrap();
    let mut first = std::pin::pin!(model.call(1, &[0.1], soon()));
    assert_pending!(first);
    let refused = model.call(2, &[0.1], soon()).await.unwrap_err();
    assert!(matches!(refused, Error::Overloaded { .. }), "{refused}");
    let pause = refused.retry_after().unwrap();
    assert!(
        pause > Duration::ZERO && pause < Duration::from_secs(5),
        "{pause:?}"
    );
    assert_eq!(model.how.metrics.refused.get(), 1);
}

#[tokio::test]
async fn an_abandoned_call_leaves_its_place() {
    let model = Model::new(&Setup {
        max_waiting: 1,
        ..Setup::default()
    });
    let busy = model.batcher.pool.try_claim().unwrap();
    {
        let mut abandoned = std::pin::pin!(model.call(1, &[0.1], soon()));
        assert_pending!(abandoned);
    }
    let mut next = std::pin::pin!(model.call(2, &[0.2], soon()));
    assert_pending!(next);
    drop(busy);
    assert!(next.await.is_ok());
}

#[tokio::test]
async fn waiting_calls_that_are_not_merged_are_served_in_order_and_the_urgent_ones_first() {
    let mut model = Model::new(&Setup::default());
    model.how.merges = false;
    let busy = model.batcher.pool.try_claim().unwrap();
    let urgency = |priority| Urgency {
        deadline: soon(),
        priority,
    };
    let mut low = std::pin::pin!(model.call(1, &[0.1], urgency(Priority::Low)));
    let mut normal = std::pin::pin!(model.call(2, &[0.2], urgency(Priority::Normal)));
    let mut next = std::pin::pin!(model.call(3, &[0.3], urgency(Priority::Normal)));
    let mut high = std::pin::pin!(model.call(4, &[0.4], urgency(Priority::High)));
    assert_pending!(low, normal, next, high);
    drop(busy);
    let outcomes = futures::join!(low, normal, next, high);
    assert_eq!(outcomes.0.unwrap(), expected(1, &[0.1]));
    assert_eq!(outcomes.3.unwrap(), expected(4, &[0.4]));
    assert_eq!(model.runs(), [[4], [2], [3], [1]]);
}

#[tokio::test(start_paused = true)]
async fn with_a_wait_set_a_call_waits_so_long_for_others_and_no_longer_than_there_are_enough() {
    let max_wait = Duration::from_millis(20);
    let model = Model::new(&Setup {
        config: Config {
            max_wait,
            preferred_rows: NonZeroUsize::new(3),
            ..config(100)
        },
        ..Setup::default()
    });
    let start = Instant::now();
    assert!(model.call(1, &[0.1], soon()).await.is_ok());
    assert_eq!(start.elapsed(), max_wait);

    let start = Instant::now();
    let outcomes = futures::join!(
        model.call(2, &[0.2], soon()),
        model.call(3, &[0.3, 0.4], soon())
    );
    assert_eq!(outcomes.0.unwrap(), expected(2, &[0.2]));
    assert_eq!(outcomes.1.unwrap(), expected(3, &[0.3, 0.4]));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(model.runs(), [vec![1], vec![2, 3]]);
}

#[tokio::test]
async fn outputs_that_do_not_come_apart_end_the_merging_and_every_call_is_answered() {
    struct Uneven;
    impl Engine for Uneven {
        fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, Error> {
            let n_rows = inputs.required()[0].shape()[0];
            Ok(vec![floats(&[1], vec![n_rows as f32]).into()])
        }
    }
    let mut model = Model::new(&Setup::default());
    let limits = Limits {
        calls: NonZeroUsize::MIN.saturating_add(9),
        rows: NonZeroUsize::MIN.saturating_add(9),
    };
    let cores = Arc::new(Semaphore::new(1));
    model.batcher = Batcher::new(Pool::new(vec![Box::new(Uneven)]), limits, cores);
    let busy = model.batcher.pool.try_claim().unwrap();
    let mut one = std::pin::pin!(model.call(1, &[0.1], soon()));
    let mut other = std::pin::pin!(model.call(2, &[0.2, 0.3], soon()));
    assert_pending!(one, other);
    drop(busy);
    assert_eq!(one.await.unwrap(), [floats(&[1], vec![1.0]).into()]);
    assert_eq!(other.await.unwrap(), [floats(&[1], vec![2.0]).into()]);
    assert!(!model.batcher.is_even());
}

#[tokio::test]
async fn a_hot_model_does_not_keep_another_from_the_cores() {
    let setup = Setup {
        n_engines: 2,
        config: config(1),
        short: false,
        ..Setup::default()
    };
    let cores = Arc::new(Semaphore::new(1));
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(Some(gate));
    let hot = Model::with(&setup, Arc::clone(&cores), || {
        // The first engine's runs are let through one by one, the other's at once.
        gate.lock().unwrap().take()
    });
    let cold = Model::with(&setup, cores, || None);
    let calls: Vec<_> = (0..20).map(|i| hot.call(i, &[0.1], soon())).collect();
    let mut calls = std::pin::pin!(futures::future::join_all(calls));
    assert_pending!(calls);
    let mut other = std::pin::pin!(cold.call(1, &[0.5], soon()));
    assert_pending!(other);
    for _ in 0..20 {
        open.send(()).unwrap();
    }
    let first = futures::future::select(calls, other).await;
    match first {
        futures::future::Either::Right((outcome, calls)) => {
            assert_eq!(outcome.unwrap(), expected(1, &[0.5]));
            // At most the run in progress and one of each engine came before.
            for outcome in calls.await {
                outcome.unwrap();
            }
        }
        futures::future::Either::Left(_) => panic!("all calls of the hot model came first"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_every_call_gets_its_own_rows() {
    for short in [true, false] {
        let model = Arc::new(Model::new(&Setup {
            n_engines: 2,
            short,
            ..Setup::default()
        }));
        let callers = (0..16).map(|caller| {
            let model = Arc::clone(&model);
            crate::shutdown::run_blocking(move || {
                let handle = tokio::runtime::Handle::current();
                let mut random = Random(caller as u64 + 1);
                for i in 0..100 {
                    let number = caller * 100 + i;
                    let values = vec![i as f32 / 2.0; 1 + random.below(4)];
                    let deadline = match random.below(8) {
                        0 => Deadline::after(Duration::from_micros(200)),
                        _ => soon(),
                    };
                    match handle.block_on(model.call(number, &values, deadline)) {
                        Ok(outputs) => assert_eq!(outputs, expected(number, &values)),
                        Err(Error::DeadlineExceeded) => assert!(deadline.is_past()),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        for caller in futures::future::join_all(callers).await {
            caller.unwrap();
        }
        assert_eq!(model.batcher.queue.n_calls(), 0);
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

#[test]
fn ten_thousand_random_schedules_agree_with_the_oracle() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut seen = Seen::default();
    for seed in 1..=10_000_u64 {
        let schedule = Schedule::run(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), &mut seen);
        runtime.block_on(tokio::task::unconstrained(schedule));
    }
    // The schedules are worth something only if they came across everything.
    assert!(seen.merged > 1000, "{seen:?}");
    assert!(seen.failed > 1000, "{seen:?}");
    assert!(seen.expired > 1000, "{seen:?}");
    assert!(seen.refused > 1000, "{seen:?}");
    assert!(seen.cancelled > 1000, "{seen:?}");
}

#[derive(Debug, Default)]
struct Seen {
    merged: usize,
    failed: usize,
    expired: usize,
    refused: usize,
    cancelled: usize,
}

type Outcome = Result<Vec<Output>, Error>;

/// A call that has no answer yet.
struct Pending<'a> {
    call: Pin<Box<dyn Future<Output = Outcome> + 'a>>,
    number: usize,
    values: Vec<f32>,
    deadline: Deadline,
}

struct Schedule<'a> {
    model: &'a Model,
    setup: &'a Setup,
    random: Random,
    pending: Vec<Pending<'a>>,
    held: Vec<Lease>,
    /// Deadlines by number of the call.
    deadlines: Vec<Deadline>,
    /// Calls that went away, with the runs until then.
    left: Vec<(usize, usize)>,
    seen: &'a mut Seen,
}

impl<'a> Schedule<'a> {
    async fn run(seed: u64, seen: &'a mut Seen) {
        let mut random = Random(seed);
        let max_rows = 1 + random.below(8);
        let setup = Setup {
            n_engines: 1 + random.below(3),
            max_waiting: 1 + random.below(8),
            config: Config {
                max_wait: Duration::from_millis(random.below(2) as u64 * 3),
                preferred_rows: NonZeroUsize::new(random.below(4)),
                ..config(max_rows)
            },
            short: true,
            sociable: random.chance(2),
        };
        let mut model = Model::new(&setup);
        model.how.merges = !random.chance(8);
        let mut schedule = Schedule {
            model: &model,
            setup: &setup,
            random,
            pending: Vec::new(),
            held: Vec::new(),
            deadlines: Vec::new(),
            left: Vec::new(),
            seen,
        };
        for _ in 0..30 {
            schedule.step().await;
        }
        schedule.finish().await;
        schedule.check_runs();
    }

    async fn step(&mut self) {
        match self.random.below(10) {
            0..=3 => self.start().await,
            4 => self.held.extend(self.model.batcher.pool.try_claim()),
            5 if !self.held.is_empty() => {
                let place = self.random.below(self.held.len());
                self.held.swap_remove(place);
            }
            6 if !self.pending.is_empty() => {
                let place = self.random.below(self.pending.len());
                let gone = self.pending.swap_remove(place);
                self.seen.cancelled += 1;
                let n_runs = self.model.log.lock().unwrap().len();
                self.left.push((gone.number, n_runs));
            }
            7 => tokio::time::advance(Duration::from_millis(self.random.below(5) as u64)).await,
            _ => self.poll_all().await,
        }
    }

    async fn start(&mut self) {
        let number = self.deadlines.len();
        let mut values: Vec<f32> = (0..1 + self.random.below(4))
            .map(|_| self.random.below(1000) as f32 / 8.0)
            .collect();
        let place = self.random.below(values.len());
        match self.random.below(12) {
            0 => values[place] = BAD,
            1 => values[place] = FATAL,
            _ => {}
        }
        let millis = if self.random.chance(2) { 3 } else { 10_000 };
        let deadline = Deadline::after(Duration::from_millis(millis));
        let priority = Priority::ALL[self.random.below(3)];
        let width = if self.random.chance(5) { 3 } else { 2 };
        self.deadlines.push(deadline);
        let model = self.model;
        let given = values.clone();
        let mut call: Pin<Box<dyn Future<Output = Outcome> + 'a>> = Box::pin(async move {
            let urgency = Urgency { deadline, priority };
            model.shaped_call(number, &given, width, urgency).await
        });
        let n_before = self.pending.len();
        match poll!(&mut call) {
            Poll::Pending => self.pending.push(Pending {
                call,
                number,
                values,
                deadline,
            }),
            Poll::Ready(Err(Error::Overloaded { max_waiting, .. })) => {
                let room = match priority {
                    Priority::Low => max_waiting.get().div_ceil(2),
                    Priority::High | Priority::Normal => max_waiting.get(),
                };
                assert_eq!(max_waiting.get(), self.setup.max_waiting);
                assert!(n_before >= room, "{number} was refused too early");
                self.seen.refused += 1;
            }
            Poll::Ready(outcome) => self.check(number, &values, deadline, outcome),
        }
    }

    async fn poll_all(&mut self) {
        let mut place = 0;
        while place < self.pending.len() {
            match poll!(&mut self.pending[place].call) {
                Poll::Pending => place += 1,
                Poll::Ready(outcome) => {
                    let done = self.pending.remove(place);
                    self.check(done.number, &done.values, done.deadline, outcome);
                }
            }
        }
    }

    /// What one engine, one call at a time, would have answered.
    fn check(&mut self, number: usize, values: &[f32], deadline: Deadline, outcome: Outcome) {
        let is_late = deadline.is_past();
        match outcome {
            Ok(outputs) => assert_eq!(outputs, expected(number, values), "{number}"),
            Err(Error::DeadlineExceeded) => {
                assert!(is_late, "{number} was given up too early");
                self.seen.expired += 1;
            }
            Err(Error::Rejected { .. }) => {
                assert!(values.iter().any(|value| value.is_nan()), "{number}");
                self.seen.failed += 1;
            }
            Err(Error::Panicked) => {
                assert!(values.iter().any(|value| value.is_infinite()), "{number}");
                self.seen.failed += 1;
            }
            Err(error) => panic!("{number}: {error}"),
        }
    }

    /// With all engines free everybody gets an answer.
    async fn finish(&mut self) {
        self.held.clear();
        for _ in 0..3 {
            // A call may run others' first, so the last one needs as many turns as there are.
            for _ in 0..=self.pending.len() {
                self.poll_all().await;
            }
            tokio::time::advance(self.setup.config.max_wait).await;
        }
        assert!(
            self.pending.is_empty(),
            "somebody waits although all is free"
        );
        assert_eq!(self.model.batcher.queue.n_calls(), 0);
        let leases: Vec<Lease> =
            std::iter::from_fn(|| self.model.batcher.pool.try_claim()).collect();
        assert_eq!(leases.len(), self.setup.n_engines, "an engine is lost");
    }

    fn check_runs(&mut self) {
        let log = self.model.log.lock().unwrap();
        let max_rows = self.setup.config.max_rows.get();
        for (calls, at) in log.iter() {
            for number in calls.keys() {
                let deadline = self.deadlines[*number].instant();
                assert!(*at < deadline, "{number} ran after its deadline");
            }
            if calls.len() > 1 {
                self.seen.merged += 1;
                assert!(self.model.how.merges);
                assert!(calls.values().sum::<usize>() <= max_rows, "{calls:?}");
            }
        }
        for (number, n_runs) in &self.left {
            let later = &log[*n_runs..];
            let ran = later.iter().any(|(calls, _)| calls.contains_key(number));
            assert!(!ran, "{number} ran although its caller had left");
        }
        for number in 0..self.deadlines.len() {
            let n_runs = log.iter().filter(|(calls, _)| calls.contains_key(&number));
            // In a merged run that failed, and then alone.
            assert!(n_runs.count() <= 2, "{number} ran too often");
        }
    }
}
