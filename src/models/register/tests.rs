//! What becomes of an ONNX file or a model directory, and registering in a directory of models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;
use tempfile::TempDir;

use super::testing::{Anything, open, order, quiet, source};
use super::*;
use crate::error::Failure;
use crate::inference::test_models::{COMPLEX64, fixture, runtime, unary, with_external_data};
use crate::models::artifact::Artifact;
use crate::models::registry::RegisteredModel;
use crate::types::signature::Schema;

fn mlmodel(package: &Package) -> BTreeMap<String, Value> {
    let files = package.files(&Identity::default()).unwrap();
    let last = files.last().unwrap();
    assert_eq!(last.path, "MLmodel");
    match &last.content {
        package::Content::Text(text) => serde_yaml_ng::from_str(text).unwrap(),
        package::Content::At(_) => panic!("MLmodel is written anew"),
    }
}

fn recorded(model: &str) -> BTreeMap<String, Value> {
    let path = fixture("models").join(model).join("MLmodel");
    serde_yaml_ng::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

fn paths(package: &Package) -> Vec<&str> {
    let files = package.file_list().iter();
    files.map(|file| file.path.as_str()).collect()
}

#[test]
fn an_onnx_file_gets_the_mlmodel_that_mlflow_writes() {
    for (model, example) in [
        ("linreg_col", Some("input_example.json")),
        ("linreg_tensor", Some("input_example.json")),
        ("multi_tensor", Some("input_example.json")),
        ("ext_data", None),
        ("rank3", None),
    ] {
        let directory = fixture("models").join(model);
        let example = example.map(|name| directory.join(name));
        let package = open(&directory.join("model.onnx"), example.as_deref());
        let (written, mut wanted) = (mlmodel(&package), recorded(model));
        for key in ["is_signature_from_type_hint", "mlflow_version", "prompts"] {
            assert_eq!(written[key], wanted[key], "{model}: {key}");
        }
        let info = "saved_input_example_info";
        assert_eq!(written.get(info), wanted.get(info), "{model}");
        // Which Python and which `onnx` saved the file is not known here.
        let flavors = wanted.get_mut("flavors").unwrap();
        flavors["python_function"]
            .as_mapping_mut()
            .unwrap()
            .remove("python_version");
        flavors["onnx"]["onnx_version"] = written["flavors"]["onnx"]["onnx_version"].clone();
        assert_eq!(&written["flavors"], flavors, "{model}");
        // Outputs: MLflow saw values, the graph says types.
        let side = |fields: &BTreeMap<String, Value>, side: &str| {
            let text = fields["signature"][side].as_str().unwrap();
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        };
        assert_eq!(side(&written, "inputs"), side(&wanted, "inputs"), "{model}");
        assert!(side(&written, "outputs").is_array());
        let known: Vec<&String> = written.keys().collect();
        let extra = ["artifact_path", "run_id"].map(str::to_owned);
        assert!(
            known
                .iter()
                .all(|key| wanted.contains_key(*key) || extra.contains(key)),
            "{known:?}"
        );
    }
}

#[test]
fn every_fixture_that_can_be_served_can_be_registered_and_read_back() {
    let mut n_models = 0;
    for entry in fs_err::read_dir(fixture("models")).unwrap() {
        let model = entry.unwrap().path();
        for path in [model.clone(), model.join("model.onnx")] {
            let opened = source(&path).open(&runtime());
            let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let (package, _) = opened.try_out("m", &BTreeMap::new(), &Anything).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let identity = Identity::default();
            package.write_to(directory.path(), &identity).unwrap();
            let artifact = Artifact::read(directory.path()).unwrap();
            assert_eq!(artifact.signature, package.signature, "{}", path.display());
            let written = open(directory.path(), None);
            if path == model {
                assert_eq!(written.fingerprint(), package.fingerprint());
            }
            n_models += 1;
        }
    }
    assert!(n_models > 30, "{n_models}");
}

#[test]
fn tensor_data_is_taken_along_and_a_missing_file_is_named() {
    let package = open(&fixture("models/ext_data/model.onnx"), None);
    assert!(paths(&package).contains(&"f29c778e-e686-11f1-a8bc-02fc00000001.data"));

    let directory = tempfile::tempdir().unwrap();
    let onnx = directory.path().join("net.onnx");
    fs_err::write(&onnx, with_external_data("./data/weights")).unwrap();
    let error = source(&onnx).open(&runtime()).err().unwrap();
    assert_eq!(error.code(), "model_external_data_refused");
    assert!(error.to_string().contains("data/weights"), "{error}");

    fs_err::create_dir(directory.path().join("data")).unwrap();
    fs_err::write(directory.path().join("data/weights"), [0; 16]).unwrap();
    let package = open(&onnx, None);
    assert!(paths(&package).contains(&"data/weights"));
    assert!(paths(&package).contains(&"model.onnx"));
    let written = directory.path().join("written");
    package.write_to(&written, &Identity::default()).unwrap();
    open(&written, None);

    fs_err::write(&onnx, with_external_data("MLmodel")).unwrap();
    fs_err::write(directory.path().join("MLmodel"), [0; 16]).unwrap();
    let error = source(&onnx).open(&runtime()).err().unwrap();
    assert_eq!(error.code(), "register_source_invalid");
    assert!(error.to_string().contains("`MLmodel`"), "{error}");
}

#[test]
fn the_fingerprint_is_of_the_content_and_of_nothing_else() {
    let directory = fixture("models/linreg_col");
    let onnx = directory.join("model.onnx");
    let example = directory.join("input_example.json");
    let plain = open(&onnx, None);
    assert_eq!(plain.fingerprint().len(), 64);
    assert_eq!(plain.fingerprint(), open(&onnx, None).fingerprint());
    let copy = tempfile::tempdir().unwrap();
    let moved = copy.path().join("other.onnx");
    fs_err::copy(&onnx, &moved).unwrap();
    assert_eq!(plain.fingerprint(), open(&moved, None).fingerprint());
    let with_example = open(&onnx, Some(&example));
    assert_ne!(plain.fingerprint(), with_example.fingerprint());
    let other = open(&fixture("models/linreg_tensor/model.onnx"), Some(&example));
    let same_file = fs_err::read(fixture("models/linreg_tensor/model.onnx")).unwrap()
        == fs_err::read(&onnx).unwrap();
    assert_eq!(with_example.fingerprint() == other.fingerprint(), same_file);
}

#[test]
fn a_given_signature_counts_and_is_held_against_the_graph() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("signature.json");
    let given = |text: &str| {
        fs_err::write(&file, text).unwrap();
        Source {
            signature: Some(file.clone()),
            ..source(&fixture("models/linreg_col/model.onnx"))
        }
        .open(&runtime())
    };
    let columns: Vec<String> = ["a", "b", "c", "d"]
        .map(|name| format!(r#"{{"type": "float", "name": "{name}"}}"#))
        .into();
    let text = format!(r#"{{"inputs": [{}]}}"#, columns.join(","));
    let package = given(&text).unwrap().package;
    assert_eq!(package.signature_from, SignatureFrom::Given);
    assert!(matches!(package.signature.inputs, Some(Schema::Columns(_))));
    let error = given(r#"{"inputs": [{"type": "string", "name": "a"}]}"#)
        .err()
        .unwrap();
    assert_eq!(error.code(), "register_signature_contradicts");
    let error = given("nonsense").err().unwrap();
    assert_eq!(error.code(), "register_signature_invalid");
    assert!(error.to_string().contains("signature.json"), "{error}");
}

#[test]
fn what_is_no_model_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| source(path).open(&runtime()).err().unwrap();
    let absent = error(&directory.path().join("absent.onnx"));
    assert_eq!(absent.code(), "register_source_invalid");
    assert!(absent.to_string().contains("absent.onnx"), "{absent}");
    let empty = error(directory.path());
    assert!(empty.to_string().contains("no `MLmodel`"), "{empty}");
    let text = directory.path().join("text.onnx");
    fs_err::write(&text, "not a model").unwrap();
    assert_eq!(error(&text).code(), "model_file_invalid");
    let brain = directory.path().join("brain.onnx");
    fs_err::write(&brain, unary("Identity", COMPLEX64, &[-1, 2], &[-1, 2])).unwrap();
    assert!(error(&brain).to_string().contains("not supported"));
}

#[test]
fn a_link_out_of_a_model_directory_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("model");
    fs_err::write(parent.path().join("secret"), "x").unwrap();
    let package = open(&fixture("models/linreg_col"), None);
    package.write_to(&directory, &Identity::default()).unwrap();
    open(&directory, None);
    fs_err::os::unix::fs::symlink("../secret", directory.join("link")).unwrap();
    let error = source(&directory).open(&runtime()).err().unwrap();
    assert!(error.to_string().contains("link"), "{error}");
    assert_eq!(error.code(), "register_source_invalid");
}

#[test]
fn a_directory_of_another_registry_leaves_that_registry_s_files_behind() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("3");
    let package = open(&fixture("models/linreg_col"), None);
    package.write_to(&directory, &Identity::default()).unwrap();
    fs_err::write(directory.join("tags.yaml"), "a: b").unwrap();
    fs_err::write(directory.join("registered_model_meta"), "model_name: x").unwrap();
    let again = open(&directory, None);
    assert_eq!(again.fingerprint(), package.fingerprint());
    assert_eq!(again.signature_from, SignatureFrom::Model);
}

// A directory of models.

struct Local {
    directory: TempDir,
}

impl Local {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self) -> registry::Config {
        let text = format!("[local]\npath = '{}'", self.path().display());
        toml::from_str(&text).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("models")
    }

    fn registry(&self) -> Registry {
        Registry::open(&self.config(), &|_| None).unwrap()
    }

    async fn register(&self, package: &Package, order: &Order) -> Result<Registered, Error> {
        self.registry().register(package, order, &quiet()).await
    }

    /// What a server would read.
    async fn listed(&self, name: &str) -> RegisteredModel {
        let listings = self
            .config()
            .connect(&|_| None)
            .unwrap()
            .list()
            .await
            .unwrap();
        let listing = listings.into_iter().find(|listing| listing.name == name);
        listing.unwrap().model.unwrap()
    }
}

fn linreg() -> Package {
    open(&fixture("models/linreg_col/model.onnx"), None)
}

#[tokio::test]
async fn a_version_in_a_directory_is_served_under_its_alias() {
    let local = Local::new();
    let mut order = order("ranking");
    order.tags.insert("team".to_owned(), "a: b".to_owned());
    let registered = local.register(&linreg(), &order).await.unwrap();
    assert_eq!(registered.version, ModelVersion(1));
    assert!(registered.is_new);
    let model = local.listed("ranking").await;
    assert_eq!(model.aliases["champion"], ModelVersion(1));
    let tags = &model.versions[&ModelVersion(1)];
    assert_eq!(tags["team"], "a: b");
    assert_eq!(tags[TAG_SHA256], registered.sha256);
    let version = local.path().join("ranking/1");
    assert!(Artifact::read(&version).is_ok());
}

#[tokio::test]
async fn the_same_content_is_not_registered_twice_in_a_directory() {
    let local = Local::new();
    local.register(&linreg(), &order("m")).await.unwrap();
    let other = Order {
        alias: Some("live".to_owned()),
        ..order("m")
    };
    let again = local.register(&linreg(), &other).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(again.version, ModelVersion(1));
    let forced = Order {
        force: true,
        ..order("m")
    };
    let forced = local.register(&linreg(), &forced).await.unwrap();
    assert_eq!(forced.version, ModelVersion(2));
    let aliases = local.listed("m").await.aliases;
    assert_eq!(aliases["live"], ModelVersion(1));
    assert_eq!(aliases["champion"], ModelVersion(2));
    // Found again from its own directory.
    let copy = open(&local.path().join("m/1"), None);
    assert_eq!(copy.signature_from, SignatureFrom::Model);
}

#[tokio::test]
async fn what_an_interrupted_copy_left_is_not_served_and_is_removed() {
    let local = Local::new();
    let left = local.path().join("m/.new-0199c0de");
    fs_err::create_dir_all(&left).unwrap();
    fs_err::write(left.join("model.onnx"), "half").unwrap();
    assert!(
        local
            .config()
            .connect(&|_| None)
            .unwrap()
            .list()
            .await
            .unwrap()
            .is_empty()
    );
    let registered = local.register(&linreg(), &order("m")).await.unwrap();
    assert!(registered.is_new && registered.resumed);
    assert!(!left.exists());
}

#[tokio::test]
async fn a_failed_copy_leaves_no_version_and_no_alias() {
    let local = Local::new();
    let source = tempfile::tempdir().unwrap();
    let onnx = source.path().join("m.onnx");
    fs_err::copy(fixture("models/linreg_col/model.onnx"), &onnx).unwrap();
    let package = open(&onnx, None);
    fs_err::remove_file(&onnx).unwrap();
    let error = local.register(&package, &order("m")).await.unwrap_err();
    assert_eq!(error.code(), "register_write_failed");
    assert!(error.to_string().contains("m.onnx"), "{error}");
    assert!(
        local
            .config()
            .connect(&|_| None)
            .unwrap()
            .list()
            .await
            .unwrap()
            .is_empty()
    );
    assert!(!local.path().join("m/aliases.yaml").exists());
}

#[tokio::test]
async fn registrations_at_the_same_time_get_a_version_each() {
    let local = Local::new();
    let forced = Order {
        force: true,
        ..order("m")
    };
    let package = linreg();
    let attempts = (0..8).map(|_| local.register(&package, &forced));
    let done = futures::future::join_all(attempts).await;
    let mut versions: Vec<u64> = done
        .into_iter()
        .map(|registered| registered.unwrap().version.0)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    assert_eq!(local.listed("m").await.versions.len(), 8);
}

#[tokio::test]
async fn aliases_of_a_directory_are_set_and_deleted() {
    let local = Local::new();
    let registry = local.registry();
    let error = registry.set_alias("m", "live", ModelVersion(1)).await;
    assert_eq!(error.unwrap_err().code(), "model_not_found");
    local.register(&linreg(), &order("m")).await.unwrap();
    let error = registry.set_alias("m", "live", ModelVersion(2)).await;
    assert_eq!(error.unwrap_err().code(), "model_version_not_found");
    registry
        .set_alias("m", "live", ModelVersion(1))
        .await
        .unwrap();
    assert_eq!(local.listed("m").await.aliases["live"], ModelVersion(1));
    assert!(registry.delete_alias("m", "live").await.unwrap());
    assert!(!registry.delete_alias("m", "live").await.unwrap());
    let file = local.path().join("m/aliases.yaml");
    fs_err::write(&file, "- not\n- a map\n").unwrap();
    let error = registry.set_alias("m", "live", ModelVersion(1)).await;
    assert!(error.unwrap_err().to_string().contains("aliases.yaml"));
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "- not\n- a map\n");
}

#[tokio::test]
async fn hostile_names_leave_no_trace_in_a_directory() {
    let local = Local::new();
    for name in [
        "../x", "/etc/x", "a/b", "a:1", "a@b", "..", ".hidden", "_x", "",
    ] {
        let error = local.register(&linreg(), &order(name)).await.unwrap_err();
        assert_eq!(error.code(), "model_name_invalid", "{name}");
        let error = local.registry().delete_alias(name, "a").await.unwrap_err();
        assert_eq!(error.code(), "model_name_invalid", "{name}");
    }
    for alias in ["latest", "v3", "a/b"] {
        let order = Order {
            alias: Some(alias.to_owned()),
            ..order("m")
        };
        let error = local.register(&linreg(), &order).await.unwrap_err();
        assert_eq!(error.code(), "model_alias_invalid", "{alias}");
    }
    assert!(!local.path().exists());
}

#[test]
fn what_only_mlflow_writes_is_refused_with_a_hint() {
    for (text, location) in [
        ("[mlruns]\npath = '/nowhere/mlruns'", "mlruns"),
        ("[mlflow_sqlite]\npath = '/nowhere/mlflow.db'", "mlflow.db"),
        (
            "[mlflow]\nuri = 'sqlite:////nowhere/mlflow.db'",
            "mlflow.db",
        ),
    ] {
        let config: registry::Config = toml::from_str(text).unwrap();
        let error = Registry::open(&config, &|_| None).err().unwrap();
        assert_eq!(error.code(), "model_registry_read_only", "{text}");
        assert!(error.to_string().contains(location), "{error}");
        assert!(error.hint().unwrap().contains("--registry-uri"));
    }
}
