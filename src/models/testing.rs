//! For tests: versions made by hand, and a catalog that serves them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::{
    ModelCatalog, ModelStatus, ServedVersion, Serving, Snapshot, VersionState, VersionStatus,
};
use super::{LoadError, registry};
use crate::inference::ServedModel;
use crate::types::names::ModelVersion;
use crate::types::signature::Signature;
use crate::types::timestamp::Timestamp;

pub(crate) fn version<P>(number: u64, plan: P, model: ServedModel) -> ServedVersion<P> {
    ServedVersion {
        name: Arc::from("m"),
        version: ModelVersion(number),
        tags: BTreeMap::new(),
        signature: Signature::default(),
        plan,
        model,
        directory: PathBuf::new(),
        n_bytes: 0,
        mlflow_version: None,
        model_uuid: None,
        utc_time_created: None,
        loaded_at: Timestamp::EPOCH,
    }
}

/// Publishes the model `m`. The plain name stands for `champion`, else for the highest version; an alias of a version that
/// is not given points to one that failed.
pub(crate) fn publish<P>(
    catalog: &ModelCatalog<P>,
    versions: Vec<ServedVersion<P>>,
    aliases: &[(&str, u64)],
) {
    let mut states: BTreeMap<ModelVersion, VersionState<P>> = BTreeMap::new();
    for (_, version) in aliases {
        let failure = LoadError::Registry(registry::Error::NoVersion {
            model: "m".to_owned(),
        });
        states.insert(
            ModelVersion(*version),
            VersionState::Failed(Arc::new(failure)),
        );
    }
    for version in versions {
        states.insert(version.version, VersionState::Loaded(Arc::new(version)));
    }
    let aliases: BTreeMap<Arc<str>, ModelVersion> = aliases
        .iter()
        .map(|(alias, version)| (Arc::from(*alias), ModelVersion(*version)))
        .collect();
    let (champion, highest) = (aliases.get_key_value("champion"), states.last_key_value());
    let serving = match (champion, highest) {
        (Some((alias, version)), _) => Serving {
            version: *version,
            alias: Some(Arc::clone(alias)),
        },
        (None, Some((version, _))) => Serving {
            version: *version,
            alias: None,
        },
        (None, None) => panic!("a model has a version"),
    };
    let states = states.into_iter();
    let status = ModelStatus {
        name: Arc::from("m"),
        aliases: aliases.into_iter().collect(),
        serving: Ok(serving),
        behind: Vec::new(),
        trouble: None,
        versions: states
            .map(|(version, state)| VersionStatus {
                version,
                state,
                setback: None,
                gate: None,
                kept_until: None,
            })
            .collect(),
        traffic: None,
    };
    catalog.publish(Snapshot::new(vec![status], true));
}
