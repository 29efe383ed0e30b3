//! A recorded database, older ones, and what may be wrong with one.

use tempfile::TempDir;

use super::super::contract;
use super::*;
use crate::error::Failure;
use crate::inference::test_models::fixture;
use crate::models::artifact::Artifact;

fn nothing(_: &str) -> Option<String> {
    None
}

fn recorded() -> MlflowSqlite {
    let config = Config {
        path: fixture("registry_sqlite/mlflow.db"),
        ..Config::default()
    };
    MlflowSqlite::connect(&config, &nothing)
}

/// MLflow's tables before workspaces and logged models, with `statements` run on them.
async fn database(statements: &str) -> (TempDir, MlflowSqlite) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mlflow.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let tables = "\
        CREATE TABLE registered_models (name VARCHAR(256) NOT NULL, creation_time BIGINT);\
        CREATE TABLE model_versions (name VARCHAR(256) NOT NULL, version INTEGER NOT NULL, current_stage VARCHAR(20), \
            source VARCHAR(500), status VARCHAR(20), status_message VARCHAR(500), storage_location VARCHAR(500));\
        CREATE TABLE registered_model_aliases (alias VARCHAR(256), version INTEGER, name VARCHAR(256));\
        CREATE TABLE registered_model_tags (key VARCHAR(250), value VARCHAR(5000), name VARCHAR(256));\
        CREATE TABLE model_version_tags (key VARCHAR(250), value VARCHAR(5000), name VARCHAR(256), version INTEGER);";
    let text = format!("{tables}{statements}");
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let config = Config {
        path,
        ..Config::default()
    };
    (directory, MlflowSqlite::connect(&config, &nothing))
}

const SOUND: &str = "\
    INSERT INTO registered_models (name) VALUES ('ranking'), ('plain'), ('prompt'), ('empty'), ('gone');\
    INSERT INTO model_versions VALUES \
        ('plain', 1, 'None', 's', 'READY', NULL, '/gone/mlruns/0/one'),\
        ('ranking', 1, 'None', 's', 'READY', NULL, NULL),\
        ('ranking', 2, NULL, 's', 'READY', NULL, NULL),\
        ('ranking', 10, 'Production', '/gone/mlruns/1/ten', 'READY', NULL, NULL),\
        ('ranking', 3, 'Deleted_Internal', 'REDACTED-SOURCE-PATH', 'READY', NULL, NULL),\
        ('gone', 1, 'Deleted_Internal', 'REDACTED-SOURCE-PATH', 'READY', NULL, NULL),\
        ('prompt', 1, 'None', 'dummy', 'READY', NULL, NULL),\
        ('orphan', 1, 'None', 'dummy', 'READY', NULL, NULL);\
    INSERT INTO registered_model_aliases VALUES ('champion', 2, 'ranking'), ('candidate', 10, 'ranking');\
    INSERT INTO registered_model_tags VALUES \
        ('team', 'a', 'ranking'), ('mlflow.prompt.is_prompt', 'true', 'prompt');\
    INSERT INTO model_version_tags VALUES ('team', 'b', 'ranking', 2);";

#[tokio::test]
async fn the_contract_holds_for_a_database_without_workspaces() {
    let (directory, registry) = database(SOUND).await;
    let files = directory.path().join("mlruns/1/ten");
    fs_err::create_dir_all(&files).unwrap();
    fs_err::write(files.join("MLmodel"), "").unwrap();
    contract::run(&registry).await;
}

#[tokio::test]
async fn a_recorded_database_lists_and_its_moved_files_are_found() {
    let registry = recorded();
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
    assert_eq!(price.versions[&ModelVersion(1)]["team"], "alpha");
    for (model, version) in [("price-model", 1), ("price-model", 2), ("wide-net", 1)] {
        let directory = registry
            .directory(model, ModelVersion(version))
            .await
            .unwrap();
        let artifact = Artifact::read(&directory).unwrap();
        assert!(artifact.onnx_file.is_file(), "{model} {version}");
    }
    let uri = "models:/m-e6601d38bcd2465f8ad3eb6c3d3e7861"
        .parse()
        .unwrap();
    let logged = registry.directory_of(&uri).await.unwrap();
    let registered = registry
        .directory("wide-net", ModelVersion(1))
        .await
        .unwrap();
    assert_eq!(logged, registered);
}

#[tokio::test]
async fn another_workspace_has_its_own_models() {
    let config = Config {
        path: fixture("registry_sqlite/mlflow.db"),
        ..Config::default()
    };
    let team = |name: &str| (name == "MLFLOW_WORKSPACE").then(|| "team-a".to_owned());
    let registry = MlflowSqlite::connect(&config, &team);
    assert!(registry.list().await.unwrap().is_empty());
    let error = registry
        .directory("wide-net", ModelVersion(1))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "model_version_not_found");
}

#[tokio::test]
async fn a_dangling_alias_and_a_version_that_is_not_ready_say_so() {
    let statements = "\
        INSERT INTO registered_models (name) VALUES ('m');\
        INSERT INTO model_versions VALUES \
            ('m', 1, 'None', 's3://bucket/m', 'READY', NULL, NULL),\
            ('m', 2, 'None', 's', 'PENDING_REGISTRATION', NULL, NULL);\
        INSERT INTO registered_model_aliases VALUES ('champion', 7, 'm');";
    let (_directory, registry) = database(statements).await;
    let listings = registry.list().await.unwrap();
    let error = listings[0].model.as_ref().unwrap_err();
    assert_eq!(error.code(), "model_alias_dangling");
    let error = registry.directory("m", ModelVersion(1)).await.unwrap_err();
    assert_eq!(error.code(), "artifact_elsewhere");
    assert!(error.to_string().contains("s3://bucket/m"), "{error}");
    let error = registry.directory("m", ModelVersion(2)).await.unwrap_err();
    assert_eq!(error.code(), "model_version_not_ready");
}

#[tokio::test]
async fn a_file_that_is_no_such_database_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mlflow.db");
    let config = Config {
        path: path.clone(),
        ..Config::default()
    };
    let registry = MlflowSqlite::connect(&config, &nothing);
    let error = registry.list().await.unwrap_err();
    assert_eq!(error.code(), "model_registry_missing");
    assert!(!path.exists(), "reading makes no file");
    for content in [
        "",
        "something else entirely, and long enough to have a header",
    ] {
        fs_err::write(&path, content).unwrap();
        let error = registry.list().await.unwrap_err();
        assert_eq!(error.code(), "model_registry_unreadable");
        assert!(error.to_string().contains("mlflow.db"), "{error}");
    }
}

#[tokio::test]
async fn a_writer_is_waited_for() {
    let (_directory, registry) = database(SOUND).await;
    let options = SqliteConnectOptions::new().filename(&registry.path);
    let mut writer = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE; DELETE FROM registered_model_aliases;")
        .execute(&mut writer)
        .await
        .unwrap();
    let list = registry.list();
    let commit = async {
        sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    };
    let (listings, ()) = tokio::join!(list, commit);
    let listings = listings.unwrap();
    assert!(listings[1].model.as_ref().unwrap().aliases.is_empty());
}
