//! One loaded model that answers calls: whether its outputs are per row, what a warm-up finds out.
//!
//! Not here: when and on which thread a call runs, and with which others (`batcher`, `estimate`).

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batcher::{self, Batcher, Cores, How, Limits};
use super::estimate::{Estimate, SHORT, WarmRun};
use super::merging::{self, Merging};
use super::pool::{Lease, Pool};
use super::response_cache::{self, ResponseCache};
use super::{Engine, Error, Inputs};
use crate::telemetry::metrics::QueueMetrics;
use crate::types::deadline::Deadline;
use crate::types::signature::{Graph, OutputKind};
use crate::types::tensor::{Output, Tensor};
use crate::types::urgency::Urgency;

/// Timed runs of a warm-up; the fastest counts, since noise only ever adds.
const TIMED_RUNS: usize = 5;

/// Bounds a single warm-up run. Not a matter of configuration: nobody waits for it.
const WARM_UP_LIMIT: Duration = Duration::from_secs(600);

/// A model that is ready to run. Clones share its engines, which are freed once the last one is dropped and the runs in
/// progress have ended.
#[derive(Clone)]
pub struct ServedModel {
    graph: Graph,
    /// The graph input whose first axis counts rows; `None` for a graph with fixed shapes.
    row_input: Option<usize>,
    batcher: Arc<Batcher>,
    merging: Merging,
    how: How,
    /// Absent where nothing is kept.
    cache: Option<Arc<ResponseCache>>,
}

/// What a run gave.
#[derive(Debug)]
pub struct Inference {
    /// In graph order.
    pub outputs: Vec<Output>,
    /// From the call to the start of the run: waiting for an engine and, for a long run, for a thread.
    pub queue: Duration,
    /// Of the whole run, if it was merged.
    pub engine: Duration,
    /// An earlier call with the same inputs was run, and this one not.
    pub cached: bool,
}

impl Inference {
    fn cached(outputs: Vec<Output>) -> Self {
        Self {
            outputs,
            queue: Duration::ZERO,
            engine: Duration::ZERO,
            cached: true,
        }
    }
}

/// How the calls of a model wait, and what counts them.
#[derive(Debug, Clone, Default)]
pub struct Queueing {
    pub batching: batcher::Config,
    pub cache: response_cache::Config,
    pub metrics: QueueMetrics,
}

impl ServedModel {
    /// `engines` must not be empty; all run the same graph.
    pub(super) fn new(
        graph: Graph,
        engines: Vec<Box<dyn Engine>>,
        limits: Limits,
        cores: Cores,
    ) -> Self {
        let row_input = graph
            .inputs
            .iter()
            .position(|input| input.shape.first() == Some(&-1));
        let model = Self {
            row_input,
            batcher: Batcher::new(Pool::new(engines), limits, cores),
            merging: Merging::of_graph(&graph),
            graph,
            how: How {
                config: batcher::Config::default(),
                merges: false,
                estimate: Estimate::default(),
                metrics: QueueMetrics::default(),
            },
            cache: None,
        };
        model.queued(Queueing::default())
    }

    /// The same, with calls waiting and being merged in this way.
    pub fn queued(mut self, queueing: Queueing) -> Self {
        let cache = ResponseCache::new(queueing.cache, queueing.metrics.cache.clone());
        self.cache = cache.map(Arc::new);
        self.how.config = queueing.batching;
        self.how.metrics = queueing.metrics;
        self.how.merges = self.not_merged().is_none();
        self
    }

    /// What the model takes and gives.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How many runs go on at once.
    pub fn n_engines(&self) -> usize {
        self.batcher.pool.n_engines()
    }

    /// How waiting calls are merged, if they are.
    pub fn batching(&self) -> &batcher::Config {
        &self.how.config
    }

    /// Why waiting calls are not merged; absent if they are.
    pub fn not_merged(&self) -> Option<String> {
        match self.merging.obstacle(self.how.config.mode) {
            None if !self.batcher.is_even() => {
                Some("a merged run gave not one row for each row of its inputs".to_owned())
            }
            obstacle => obstacle,
        }
    }

    /// No clone of the model and no run has its engines any more but this one.
    pub fn is_last_holder(&self) -> bool {
        Arc::strong_count(&self.batcher) == 1 && Arc::strong_count(&self.batcher.pool) == 1
    }

    /// How long a run takes, once the model is warm.
    pub fn warm_run(&self) -> Option<WarmRun> {
        self.how.estimate.warm_run
    }

    /// Runs the model on inputs in graph order. How many rows the outputs have is not checked here.
    ///
    /// Errors: `Overloaded` and `OverloadedRows` before any run; `DeadlineExceeded` before a run, and during one that is
    /// not on this thread; `Rejected` for inputs that do not fit the graph.
    /// Cancel safety: a call abandoned while it waits is never run; a run in progress ends and is dropped.
    pub async fn infer(
        &self,
        inputs: impl Into<Inputs>,
        urgency: impl Into<Urgency>,
    ) -> Result<Inference, Error> {
        let called = Instant::now();
        let inputs = inputs.into();
        let key = match self.cache.as_deref().map(|cache| cache.find(&inputs)) {
            Some(Ok(outputs)) => return Ok(Inference::cached(outputs)),
            Some(Err(key)) => key,
            None => None,
        };
        let n_rows = self.n_rows(inputs.required());
        let _in_flight = self.how.metrics.in_flight();
        let run = self
            .batcher
            .infer(inputs, n_rows, urgency.into(), &self.how);
        let run = run.await?;
        if let (Some(cache), Some(key)) = (&self.cache, key) {
            cache.keep(key, &run.outputs);
        }
        Ok(Inference {
            outputs: run.outputs,
            queue: run.started.duration_since(called),
            engine: run.took,
            cached: false,
        })
    }

    /// Runs every engine once, so that the first real call finds memory and kernels ready, times one of them, and tries
    /// out whether calls can be merged.
    ///
    /// Blocks for as long as that takes.
    pub fn warm_up(&mut self, inputs: &[Tensor]) -> Result<(), Error> {
        let n_rows = self.n_rows(inputs);
        // All at once: an engine that went back to the queue would come up again.
        let mut leases = Vec::new();
        while let Some(lease) = self.batcher.pool.try_claim() {
            leases.push(lease);
        }
        for lease in &mut leases {
            let run = lease.run(inputs.to_vec(), Deadline::after(WARM_UP_LIMIT))?;
            self.check_rows(&run.outputs, n_rows)?;
        }
        let Some(first) = leases.first_mut() else {
            return Ok(());
        };
        let took = fastest_run(first, inputs)?;
        let n_rows = n_rows.unwrap_or(1);
        self.how.estimate.warm_run = Some(WarmRun { n_rows, took });
        if self.how.config.mode != batcher::Mode::Off && self.merging == Merging::Untried {
            self.try_out_merging(&mut leases, inputs, took);
        }
        self.how.merges = self.not_merged().is_none();
        Ok(())
    }

    fn try_out_merging(&mut self, leases: &mut [Lease], inputs: &[Tensor], took: Duration) {
        let Some((first, others)) = leases.split_first_mut() else {
            return;
        };
        let trial = merging::try_out(first, inputs, took);
        self.merging = trial.merging;
        let Some((large, warm_run)) = trial.large else {
            return;
        };
        self.how.estimate.large_run = Some(warm_run);
        if self.not_merged().is_none() {
            // So that their first merged run finds its memory, too. What fails here would have failed on the first.
            for lease in others {
                let _ = lease.run(large.clone(), Deadline::after(WARM_UP_LIMIT));
            }
        }
    }

    fn n_rows(&self, inputs: &[impl Borrow<Tensor>]) -> Option<usize> {
        let input: &Tensor = inputs.get(self.row_input?)?.borrow();
        input.shape().first().copied()
    }

    /// Outputs whose first dimension is free in the graph must have a row for each input row.
    fn check_rows(&self, outputs: &[Output], n_rows: Option<usize>) -> Result<(), Error> {
        let Some(wanted) = n_rows else {
            return Ok(());
        };
        for (spec, output) in self.graph.outputs.iter().zip(outputs) {
            let per_row = match &spec.kind {
                OutputKind::Tensor { shape, .. } => shape.first() == Some(&-1),
                OutputKind::Maps => true,
            };
            let actual = output.n_rows().unwrap_or(0);
            if per_row && actual != wanted {
                return Err(Error::Shape {
                    output: spec.name.clone(),
                    wanted,
                    actual,
                });
            }
        }
        Ok(())
    }
}

fn fastest_run(lease: &mut Lease, inputs: &[Tensor]) -> Result<Duration, Error> {
    let mut fastest = Duration::MAX;
    for _ in 0..TIMED_RUNS {
        let run = lease.run(inputs.to_vec(), Deadline::after(WARM_UP_LIMIT))?;
        fastest = fastest.min(run.took);
        if fastest > SHORT * 100 {
            // Far from any doubt; a slow model need not be run again and again.
            break;
        }
    }
    Ok(fastest)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use futures::poll;
    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::inference::test_models;
    use crate::types::byte_size::ByteSize;
    use crate::types::dtype::DType;
    use crate::types::signature::{OutputSpec, TensorSpec};

    /// Gives back its input, or what it is told to, and tells on which thread it ran.
    struct Fake {
        threads: mpsc::Sender<ThreadId>,
        /// A run ends when something comes in here; at once if it is absent.
        gate: Option<mpsc::Receiver<()>>,
        outputs: Option<Vec<Output>>,
    }

    impl Engine for Fake {
        fn run(&mut self, inputs: Inputs) -> Result<Vec<Output>, Error> {
            self.threads.send(thread::current().id()).unwrap();
            if let Some(gate) = &self.gate {
                gate.recv().unwrap();
            }
            let echo = || {
                inputs
                    .into_tensors()
                    .into_iter()
                    .map(Output::Tensor)
                    .collect()
            };
            Ok(self.outputs.clone().unwrap_or_else(echo))
        }
    }

    fn graph(output: OutputKind) -> Graph {
        Graph {
            optional: Vec::new(),
            inputs: vec![TensorSpec {
                name: Some("x".to_owned()),
                dtype: DType::Float32,
                shape: vec![-1],
            }],
            outputs: vec![OutputSpec {
                name: "y".to_owned(),
                kind: output,
            }],
        }
    }

    fn per_row() -> OutputKind {
        OutputKind::Tensor {
            dtype: DType::Float32,
            shape: vec![-1],
        }
    }

    fn rows(n_rows: usize) -> Vec<Tensor> {
        vec![Tensor::Float32(ArrayD::zeros(IxDyn(&[n_rows])))]
    }

    fn model(engine: Fake, output: OutputKind) -> ServedModel {
        test_models::served(graph(output), vec![Box::new(engine)])
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn echo() -> (Fake, mpsc::Receiver<ThreadId>) {
        let (threads, receiver) = mpsc::channel();
        let fake = Fake {
            threads,
            gate: None,
            outputs: None,
        };
        (fake, receiver)
    }

    #[tokio::test]
    async fn a_cheap_run_stays_on_the_callers_thread_and_an_expensive_one_leaves_it() {
        let (engine, threads) = echo();
        let mut model = model(engine, per_row());
        let here = thread::current().id();

        model.infer(rows(1), soon()).await.unwrap();
        assert_ne!(threads.recv().unwrap(), here, "not warmed up yet");

        model.how.estimate.warm_run = Some(WarmRun {
            n_rows: 2,
            took: Duration::from_micros(200),
        });
        for (n_rows, stays) in [
            (1, true),
            (2, true),
            (4, true),
            (5, false),
            (100_000, false),
        ] {
            model.infer(rows(n_rows), soon()).await.unwrap();
            assert_eq!(threads.recv().unwrap() == here, stays, "{n_rows}");
        }
    }

    #[tokio::test]
    async fn a_warm_up_runs_every_engine_and_makes_a_fast_model_cheap() {
        let (threads, runs) = mpsc::channel();
        let engines = (0..3).map(|_| {
            Box::new(Fake {
                threads: threads.clone(),
                gate: None,
                outputs: None,
            }) as Box<dyn Engine>
        });
        let mut model = test_models::served(graph(per_row()), engines.collect()).queued(Queueing {
            batching: batcher::Config {
                mode: batcher::Mode::Off,
                ..batcher::Config::default()
            },
            ..Queueing::default()
        });
        model.warm_up(&rows(3)).unwrap();
        assert_eq!(runs.try_iter().count(), 3 + TIMED_RUNS);
        assert_eq!(model.warm_run().unwrap().n_rows, 3);
        assert_eq!(model.n_engines(), 3);
        assert!(model.how.estimate.is_short(Some(1)));
    }

    #[tokio::test]
    async fn the_same_inputs_are_run_once_where_answers_are_kept() {
        let (engine, threads) = echo();
        let model = model(engine, per_row()).queued(Queueing {
            cache: response_cache::Config {
                max_bytes: Some(ByteSize::from_mebibytes(1)),
            },
            ..Queueing::default()
        });
        let first = model.infer(rows(2), soon()).await.unwrap();
        let second = model.infer(rows(2), soon()).await.unwrap();
        assert_eq!(first.outputs, second.outputs);
        assert_eq!((first.cached, second.cached), (false, true));
        assert!(!model.infer(rows(3), soon()).await.unwrap().cached);
        assert_eq!(threads.try_iter().count(), 2);
    }

    #[tokio::test]
    async fn an_expired_call_never_reaches_the_engine() {
        let (engine, threads) = echo();
        let mut model = model(engine, per_row());
        let expired = Deadline::after(Duration::ZERO);
        for warm_run in [None, Some(Duration::ZERO)] {
            model.how.estimate.warm_run = warm_run.map(|took| WarmRun { n_rows: 1, took });
            let error = model.infer(rows(1), expired).await.unwrap_err();
            assert!(matches!(error, Error::DeadlineExceeded), "{error}");
            assert!(threads.try_recv().is_err());
        }
    }

    #[tokio::test]
    async fn an_abandoned_run_gives_its_engine_back_when_it_ends() {
        let (threads, started) = mpsc::channel();
        let (open, gate) = mpsc::channel();
        let engine = Fake {
            threads,
            gate: Some(gate),
            outputs: None,
        };
        let model = model(engine, per_row());
        {
            let mut abandoned = std::pin::pin!(model.infer(rows(1), soon()));
            assert!(poll!(&mut abandoned).is_pending());
        }
        started.recv().unwrap();
        let mut next = std::pin::pin!(model.infer(rows(1), soon()));
        assert!(poll!(&mut next).is_pending(), "the engine is still busy");
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert!(next.await.is_ok());
    }

    #[tokio::test]
    async fn a_run_that_outlasts_the_deadline_is_not_waited_for() {
        let (threads, started) = mpsc::channel();
        let (open, gate) = mpsc::channel();
        let engine = Fake {
            threads,
            gate: Some(gate),
            outputs: None,
        };
        let model = model(engine, per_row());
        let deadline = Deadline::after(Duration::from_millis(20));
        let error = model.infer(rows(1), deadline).await.unwrap_err();
        assert!(matches!(error, Error::DeadlineExceeded), "{error}");
        started.recv().unwrap();
        open.send(()).unwrap();
        open.send(()).unwrap();
        assert!(model.infer(rows(1), soon()).await.is_ok());
    }

    #[tokio::test]
    async fn an_output_without_a_row_per_input_row_is_an_error() {
        for (kind, output, actual) in [
            (per_row(), Output::Tensor(rows(3).remove(0)), Some(3)),
            (
                per_row(),
                Output::Tensor(Tensor::Float32(ArrayD::zeros(IxDyn(&[])))),
                Some(0),
            ),
            (OutputKind::Maps, Output::Maps(vec![Vec::new()]), Some(1)),
            (per_row(), Output::Tensor(rows(2).remove(0)), None),
            (
                // A first dimension that is fixed in the graph says nothing about rows.
                OutputKind::Tensor {
                    dtype: DType::Float32,
                    shape: vec![3],
                },
                Output::Tensor(rows(3).remove(0)),
                None,
            ),
        ] {
            let (mut engine, _threads) = echo();
            engine.outputs = Some(vec![output]);
            let outcome = model(engine, kind).warm_up(&rows(2));
            match (outcome, actual) {
                (Ok(_), None) => {}
                (
                    Err(Error::Shape {
                        output,
                        wanted: 2,
                        actual,
                    }),
                    Some(wanted),
                ) => {
                    assert_eq!((output.as_str(), actual), ("y", wanted));
                }
                (outcome, _) => panic!("{outcome:?}"),
            }
        }
    }
}
