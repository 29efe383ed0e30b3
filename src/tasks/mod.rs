//! What a job does: the functions that workers know.
//!
//! | function | what it does |
//! |---|---|
//! | `predict(model, request)` | a predict call, with the body and the answer of `/v1` |
//! | `materialize(start, end, views=None)` | loads a time range into the online store |
//! | `materialize_incremental(end, views=None)` | the same from where each view was left |
//! | `ping(value=None)` | gives the value back: what tells that a worker works |
//! | `webhook(url, job)` | tells a URL of a job's end |
//! | `historical_features(entities, out, features=None, service=None, full_feature_names=False, filter_by_created_timestamp=False)` | a training set, from a file into a file |
//! | `score(model, source, destination, features=None, with_features=False, rows_per_call=None, audit_rows=False, again=False)` | a model's outputs for the rows of a file, into a file |
//!
//! Invariants:
//! - a prediction takes the path of all predictions, with the same errors and an audit event per attempt;
//! - whoever asked to be told of a job's end is told at least once, also if the worker dies at that moment.
//!
//! Not here: when jobs run and how often (`jobs`).

mod arguments;
mod error;
mod files;
mod historical;
mod materialize;
mod predict;
mod score;
mod webhook;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::error::Error;
pub use self::predict::PredictJob;
pub use self::webhook::Webhooks;

use self::arguments::Arguments;
use crate::features::FeatureStore;
use crate::jobs;
use crate::jobs::value::Value;
use crate::jobs::worker::{Call, Function, JobError, JobHandler};
use crate::predict::Predictor;

/// The functions, and what they work on.
pub struct Tasks {
    pub predictor: Predictor,
    /// Absent without a feature repository.
    pub features: Option<Arc<FeatureStore>>,
    /// Most rows of one prediction.
    pub max_rows: usize,
    /// Where jobs that a job leaves behind are queued.
    pub client: jobs::Client,
    pub webhooks: Arc<Webhooks>,
    /// Below which jobs read and write files.
    pub files: Option<PathBuf>,
}

const HOUR: Duration = Duration::from_secs(3600);

const FUNCTIONS: [Function; 7] = [
    Function::new("ping"),
    Function::new("predict"),
    Function::new("materialize").within(HOUR),
    Function::new("materialize_incremental").within(HOUR),
    Function::new("webhook")
        .within(Duration::from_secs(30))
        .trying(NonZeroU32::MIN.saturating_add(9)),
    Function::new("score").within(HOUR),
    Function::new("historical_features").within(HOUR),
];

#[async_trait]
impl JobHandler for Tasks {
    fn functions(&self) -> &[Function] {
        &FUNCTIONS
    }

    async fn run(&self, call: &Call) -> Result<Value, JobError> {
        let done = match call.function.as_str() {
            "ping" => ping(call),
            "predict" => self.predict(call).await,
            "materialize" => self.materialize(call).await,
            "materialize_incremental" => self.materialize_incremental(call).await,
            "historical_features" => self.historical_features(call).await,
            "score" => self.score(call).await,
            "webhook" => self.webhook(call).await,
            function => Err(Error::NoFunction {
                function: function.to_owned(),
            }),
        };
        done.map_err(|error| JobError::of(&error))
    }

    async fn ending(&self, call: &Call, _: bool) -> Result<(), JobError> {
        let told = self.tell(call).await;
        told.map_err(|error| JobError::of(&error))
    }
}

fn ping(call: &Call) -> Result<Value, Error> {
    let arguments = Arguments::bind(call, &["value"], 1)?;
    Ok(arguments.get("value").cloned().unwrap_or_default())
}
