//! Recorded file stores, and what may be wrong with one.

use tempfile::TempDir;

use super::super::contract;
use super::*;
use crate::error::Failure;
use crate::inference::test_models::fixture;
use crate::models::artifact::Artifact;

/// Files below a directory, by path.
fn store_of(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
    directory
}

fn registry(directory: &TempDir) -> Mlruns {
    Mlruns::connect(&Config {
        path: directory.path().to_owned(),
        ..Config::default()
    })
}

const READY: &str = "status: READY\ncurrent_stage: None\nsource: s3://elsewhere\n";

fn contract_store() -> TempDir {
    let of_ten = format!("{READY}storage_location: file:///gone/mlruns/1/ten\n");
    store_of(&[
        ("1/ten/MLmodel", ""),
        ("models/plain/meta.yaml", ""),
        ("models/plain/version-1/meta.yaml", READY),
        (
            "models/ranking/meta.yaml",
            "aliases: {champion: 1, gone: 7}",
        ),
        ("models/ranking/tags/team", "a"),
        ("models/ranking/aliases/champion", "2"),
        ("models/ranking/aliases/candidate", "10"),
        ("models/ranking/version-1/meta.yaml", READY),
        ("models/ranking/version-2/meta.yaml", READY),
        ("models/ranking/version-2/tags/team", "b"),
        ("models/ranking/version-10/meta.yaml", &of_ten),
        // What follows is not listed.
        (
            "models/ranking/version-3/meta.yaml",
            "current_stage: Deleted_Internal\n",
        ),
        ("models/empty/meta.yaml", ""),
        ("models/gone/meta.yaml", ""),
        (
            "models/gone/version-1/meta.yaml",
            "current_stage: Deleted_Internal\n",
        ),
        ("models/prompt/meta.yaml", ""),
        ("models/prompt/tags/mlflow.prompt.is_prompt", "true"),
        ("models/prompt/version-1/meta.yaml", READY),
        ("models/no_meta/version-1/meta.yaml", READY),
        ("models/a@b/meta.yaml", ""),
        ("models/a@b/version-1/meta.yaml", READY),
    ])
}

#[tokio::test]
async fn the_contract_holds() {
    contract::run(&registry(&contract_store())).await;
}

#[tokio::test]
async fn a_recorded_store_lists_and_its_moved_files_are_found() {
    let registry = Mlruns::connect(&Config {
        path: fixture("registry_file/mlruns"),
        ..Config::default()
    });
    let listings = registry.list().await.unwrap();
    let names: Vec<_> = listings
        .iter()
        .map(|listing| listing.name.as_str())
        .collect();
    assert_eq!(names, ["price-model", "wide-net"]);
    let price = listings[0].model.as_ref().unwrap();
    assert_eq!(price.aliases["champion"], ModelVersion(1));
    assert_eq!(price.aliases["challenger"], ModelVersion(2));
    assert_eq!(price.versions[&ModelVersion(2)]["k"], "v");
    assert_eq!(price.versions[&ModelVersion(2)]["team"], "alpha");
    for (model, version) in [("price-model", 1), ("price-model", 2), ("wide-net", 1)] {
        let directory = registry
            .directory(model, ModelVersion(version))
            .await
            .unwrap();
        let artifact = Artifact::read(&directory).unwrap();
        assert!(artifact.onnx_file.is_file(), "{model} {version}");
    }
}

#[tokio::test]
async fn uris_of_registered_and_logged_models_and_of_runs_lead_to_files() {
    let registry = Mlruns::connect(&Config {
        path: fixture("registry_file/mlruns"),
        ..Config::default()
    });
    let id = "m-6d8960aecdca4ea9825fde4b14736025";
    let first = registry
        .directory("price-model", ModelVersion(1))
        .await
        .unwrap();
    for uri in [
        "models:/price-model@champion".to_owned(),
        "models:/price-model/1".to_owned(),
        format!("models:/{id}"),
    ] {
        let found = registry.directory_of(&uri.parse().unwrap()).await.unwrap();
        assert_eq!(found, first, "{uri}");
    }
    for (uri, code) in [
        ("models:/price-model@nope", "model_alias_not_found"),
        ("models:/price-model/9", "model_version_not_found"),
        ("models:/nope/latest", "model_uri_unresolved"),
        ("models:/price-model/Staging", "model_uri_unresolved"),
        (
            "models:/m-00000000000000000000000000000000",
            "model_uri_unresolved",
        ),
        ("runs:/nope/model", "model_uri_unresolved"),
    ] {
        let error = registry
            .directory_of(&uri.parse().unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{uri}: {error}");
    }
}

#[tokio::test]
async fn a_broken_model_stops_only_itself_and_says_where() {
    for (path, content, code, part) in [
        (
            "aliases/x",
            "seven",
            "model_registry_malformed",
            "aliases/x",
        ),
        (
            "aliases/x",
            "7",
            "model_alias_dangling",
            "points to version 7",
        ),
        (
            "version-1/meta.yaml",
            "[",
            "model_registry_malformed",
            "version-1/meta.yaml",
        ),
    ] {
        let store = contract_store();
        let broken = store.path().join("models/broken");
        fs_err::create_dir_all(broken.join("version-1")).unwrap();
        fs_err::create_dir_all(broken.join("aliases")).unwrap();
        fs_err::write(broken.join("meta.yaml"), "").unwrap();
        fs_err::write(broken.join("version-1/meta.yaml"), READY).unwrap();
        fs_err::write(broken.join(path), content).unwrap();
        let registry = registry(&store);
        contract::run(&registry).await;
        let listings = registry.list().await.unwrap();
        let error = listings[0].model.as_ref().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_version_without_files_here_or_not_ready_says_so() {
    let store = store_of(&[
        ("models/m/meta.yaml", ""),
        ("models/m/version-1/meta.yaml", READY),
        (
            "models/m/version-2/meta.yaml",
            "status: FAILED_REGISTRATION\nstatus_message: no room\n",
        ),
    ]);
    let registry = registry(&store);
    let error = registry.directory("m", ModelVersion(1)).await.unwrap_err();
    assert_eq!(error.code(), "artifact_elsewhere");
    assert!(error.to_string().contains("s3://elsewhere"), "{error}");
    let error = registry.directory("m", ModelVersion(2)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "version 2 of model `m` is FAILED_REGISTRATION in the registry: no room"
    );
}

#[tokio::test]
async fn an_absent_directory_is_an_error_that_names_it() {
    let registry = Mlruns::connect(&Config {
        path: PathBuf::from("/nowhere/mlruns"),
        ..Config::default()
    });
    let error = registry.list().await.unwrap_err();
    assert_eq!(error.code(), "model_registry_missing");
    assert!(error.to_string().contains("/nowhere/mlruns"), "{error}");
}
