//! Whether a model would go live, before anybody else sees it: bound and run as the server will do it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Package;
use super::source::Opened;
use crate::models::warm_up::{self, WarmUp};
use crate::models::{Binder, Candidate, LoadError, ServedVersion};
use crate::types::names::ModelVersion;
use crate::types::timestamp::Timestamp;

/// What a version that is not registered yet is shown as.
const NOT_YET: ModelVersion = ModelVersion(0);

impl Opened {
    /// Compiles the serving plan and runs the model, on its input example if it has one.
    /// Takes as long as that takes: call it off the async workers.
    ///
    /// Errors: those that would keep the version from going live.
    pub fn try_out<B: Binder>(
        self,
        name: &str,
        tags: &BTreeMap<String, String>,
        binder: &B,
    ) -> Result<(Package, ServedVersion<B::Plan>), LoadError> {
        let Self {
            package,
            artifact,
            mut model,
        } = self;
        let candidate = Candidate {
            name,
            version: NOT_YET,
            tags,
            signature: &artifact.signature,
            graph: model.graph(),
        };
        let plan = binder.bind(&candidate).map_err(LoadError::Bind)?;
        let example = artifact.input_example.as_ref();
        match warm_up::choose(model.graph(), &artifact.signature, example) {
            WarmUp::Example(inputs) => model.warm_up(&inputs).map_err(LoadError::InputExample)?,
            WarmUp::MadeUp(inputs) => {
                if let Err(error) = model.warm_up(&inputs) {
                    tracing::debug!(%error, "the model does not run on made-up values");
                }
            }
            WarmUp::Nothing => {}
        }
        let version = ServedVersion {
            name: Arc::from(name),
            version: NOT_YET,
            tags: tags.clone(),
            signature: artifact.signature,
            plan,
            model,
            directory: artifact.directory,
            n_bytes: artifact.n_bytes,
            mlflow_version: artifact.mlflow_version,
            model_uuid: artifact.model_uuid,
            utc_time_created: artifact.utc_time_created,
            loaded_at: Timestamp::now(),
        };
        Ok((package, version))
    }
}
