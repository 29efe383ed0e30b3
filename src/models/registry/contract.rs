//! What every model registry must do, run by each backend's own tests.

use std::collections::BTreeMap;

use super::{Error, ModelRegistry};
use crate::types::names::ModelVersion;

/// `registry` holds `ranking` with versions 1, 2 and 10, aliases `champion` → 2 and `candidate` → 10, the tag
/// `team=a` on the model and `team=b` on version 2; `plain` with version 1 and nothing else; no further sound models.
pub(super) async fn run(registry: &dyn ModelRegistry) {
    models_are_listed_by_name_once(registry).await;
    versions_aliases_and_tags_are_listed(registry).await;
    the_files_of_a_version_are_on_this_machine(registry).await;
    an_unknown_version_has_no_files(registry).await;
}

async fn models_are_listed_by_name_once(registry: &dyn ModelRegistry) {
    let listings = registry.list().await.unwrap();
    let sound = listings.iter().filter(|listing| listing.model.is_ok());
    let names: Vec<&str> = sound.map(|listing| listing.name.as_str()).collect();
    assert_eq!(names, ["plain", "ranking"]);
}

async fn versions_aliases_and_tags_are_listed(registry: &dyn ModelRegistry) {
    for listing in registry.list().await.unwrap() {
        let Ok(model) = listing.model else {
            continue;
        };
        let versions: Vec<u64> = model.versions.keys().map(|version| version.0).collect();
        if listing.name == "plain" {
            assert_eq!(versions, [1]);
            assert!(model.aliases.is_empty());
            assert!(model.versions[&ModelVersion(1)].is_empty());
            continue;
        }
        assert_eq!(versions, [1, 2, 10], "in order of number, not of text");
        let aliases = [
            ("candidate".to_owned(), ModelVersion(10)),
            ("champion".to_owned(), ModelVersion(2)),
        ];
        assert_eq!(model.aliases, BTreeMap::from(aliases));
        for (version, team) in [(1, "a"), (2, "b"), (10, "a")] {
            assert_eq!(model.versions[&ModelVersion(version)]["team"], team);
        }
    }
}

async fn the_files_of_a_version_are_on_this_machine(registry: &dyn ModelRegistry) {
    let directory = registry
        .directory("ranking", ModelVersion(10))
        .await
        .unwrap();
    assert!(directory.join("MLmodel").is_file());
}

async fn an_unknown_version_has_no_files(registry: &dyn ModelRegistry) {
    for (model, version) in [("ranking", 3), ("nosuch", 1), ("../ranking", 1), (".", 1)] {
        let error = registry
            .directory(model, ModelVersion(version))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::UnknownVersion { .. }),
            "{model}: {error}"
        );
    }
}
