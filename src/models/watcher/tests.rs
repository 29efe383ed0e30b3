//! Whole registries from disk to the catalog.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::error::ErrorClass;
use crate::inference::test_models::{self, FLOAT, fixture};
use crate::models::catalog::Snapshot;
use crate::models::registry::{self, ModelRegistry};
use crate::models::{
    BindError, Candidate, Config, Ready, Resolved, ServedVersion, VersionState, Versions,
};
use crate::types::deadline::Deadline;
use crate::types::names::ModelVersion;

/// Refuses versions with the tag `refuse`; the plan is the number of graph inputs.
pub(super) struct CountInputs;

#[derive(Debug, thiserror::Error)]
#[error("column `{0}` comes from nowhere")]
struct Refused(String);

impl Failure for Refused {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable
    }

    fn code(&self) -> &'static str {
        "plan_refused"
    }

    fn hint(&self) -> Option<String> {
        Some("bind it".to_owned())
    }
}

impl Binder for CountInputs {
    type Plan = usize;

    fn bind(&self, candidate: &Candidate<'_>) -> Result<usize, BindError> {
        match candidate.tags.get("refuse") {
            Some(column) => Err(Box::new(Refused(column.clone()))),
            None => Ok(candidate.graph.inputs.len()),
        }
    }
}

/// A directory of models; each version is a link to a recorded one.
pub(super) struct Models(TempDir);

impl Models {
    pub(super) fn new(versions: &[(&str, u64, &str)]) -> Self {
        let models = Self(tempfile::tempdir().unwrap());
        for (name, version, recorded) in versions {
            let link = models.path().join(name).join(version.to_string());
            fs_err::create_dir_all(link.parent().unwrap()).unwrap();
            fs_err::os::unix::fs::symlink(fixture("models").join(recorded), link).unwrap();
        }
        models
    }

    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn registry(&self) -> Arc<dyn ModelRegistry> {
        let path = self.path().to_str().unwrap();
        let config: registry::Config =
            toml::from_str(&format!("[local]\npath = '{path}'")).unwrap();
        config.connect(&|_| None).unwrap()
    }

    pub(super) fn loader<B: Binder>(&self, binder: B, config: &Config) -> Loader<B> {
        let runtime = test_models::runtime();
        Loader::new(self.registry(), runtime, binder, config.clone().into())
    }

    pub(super) async fn load(&self, config: &Config) -> Arc<ModelCatalog<usize>> {
        self.loader(CountInputs, config).load_all().await.unwrap()
    }

    async fn check(&self, reference: &str) -> Result<ServedVersion<usize>, Error> {
        let reference = reference.parse().unwrap();
        let loader = self.loader(CountInputs, &Config::default());
        Ok(loader.check(&reference).await?.version)
    }

    /// A watcher that has loaded everything.
    pub(super) async fn watch<B: Binder>(&self, binder: B) -> Watcher<B> {
        let loader = self.loader(binder, &Config::default());
        let mut watcher = Watcher::open(loader, Settings::default()).await.unwrap();
        watcher.start().await;
        watcher
    }
}

pub(super) fn resolve<P>(catalog: &ModelCatalog<P>, reference: &str) -> Result<Resolved<P>, Error> {
    catalog.resolve(&reference.parse().unwrap())
}

/// `version@alias` of what a reference stands for.
pub(super) fn resolved<P>(catalog: &ModelCatalog<P>, reference: &str) -> String {
    let resolved = resolve(catalog, reference).unwrap();
    match resolved.alias {
        Some(alias) => format!("{}@{alias}", resolved.version.version),
        None => resolved.version.version.to_string(),
    }
}

fn three_versions() -> Models {
    let models = Models::new(&[
        ("a", 1, "linreg_col"),
        ("a", 2, "clf_on_col"),
        ("a", 10, "multi_tensor"),
    ]);
    models.write("a/aliases.yaml", "champion: 1\ncandidate: 2\n");
    models
}

#[tokio::test]
async fn every_recorded_model_goes_live() {
    let names: Vec<String> = fs_err::read_dir(fixture("models"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let versions: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 1, name.as_str()))
        .collect();
    let catalog = Models::new(&versions).load(&Config::default()).await;
    for name in &names {
        let resolved = resolve(&catalog, name).unwrap();
        let is_warm = resolved.version.model.warm_run().is_some();
        assert!(is_warm, "{name} is cold");
    }
    assert_eq!(catalog.models().len(), 23);
    assert!(catalog.readiness().failed.is_empty());
}

#[tokio::test]
async fn the_plain_name_is_the_serving_alias_else_the_highest_version() {
    let models = three_versions();
    let catalog = models.load(&Config::default()).await;
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(resolved(&catalog, "a@champion"), "1@champion");
    assert_eq!(resolved(&catalog, "a@candidate"), "2@candidate");
    assert_eq!(resolved(&catalog, "a:2"), "2");

    let config = Config {
        alias: "nosuch".to_owned(),
        ..Config::default()
    };
    let catalog = models.load(&config).await;
    assert_eq!(resolved(&catalog, "a"), "10");
    assert_eq!(resolved(&catalog, "a@champion"), "1@champion");
}

#[tokio::test]
async fn a_version_tells_what_it_is() {
    let models = three_versions();
    models.write("a/tags.yaml", "team: x");
    models.write("a/aliases.yaml", "champion: 1\nbest: 1\n");
    let catalog = models.load(&Config::default()).await;
    let version = resolve(&catalog, "a").unwrap().version;
    let aliases = catalog.model("a").unwrap().aliases_of(version.version);
    let aliases: Vec<&str> = aliases.iter().map(|alias| &**alias).collect();
    assert_eq!(aliases, ["best", "champion"]);
    assert_eq!(version.tags["team"], "x");
    assert_eq!(version.plan, 1);
    assert_eq!(version.mlflow_version.as_deref(), Some("3.17.2"));
    assert_eq!(version.directory, models.path().join("a/1"));
    let inputs = vec![crate::types::tensor::Tensor::Float32(
        ndarray::ArrayD::zeros(vec![2, 4]),
    )];
    let deadline = Deadline::after(std::time::Duration::from_secs(10));
    let inference = version.model.infer(inputs, deadline).await.unwrap();
    assert_eq!(inference.outputs[0].n_rows(), Some(2));
}

#[tokio::test]
async fn other_versions_are_served_when_asked_for() {
    let models = three_versions();
    let with = |versions| Config {
        versions,
        ..Config::default()
    };
    let served = |catalog: &ModelCatalog<usize>| {
        let served = |version: &&u64| resolve(catalog, &format!("a:{version}")).is_ok();
        [1, 2, 10]
            .iter()
            .filter(served)
            .copied()
            .collect::<Vec<u64>>()
    };
    assert_eq!(
        served(&*models.load(&with(Versions::Aliases)).await),
        [1, 2]
    );
    assert_eq!(
        served(&*models.load(&with(Versions::All)).await),
        [1, 2, 10]
    );
    let listed = Versions::Listed(vec![
        ("a".to_owned(), ModelVersion(10)),
        ("a".to_owned(), ModelVersion(3)),
    ]);
    let catalog = models.load(&with(listed)).await;
    assert_eq!(served(&catalog), [1, 2, 10]);
    assert_eq!(
        catalog.readiness().failed,
        ["a:3"],
        "asked for and not there"
    );
}

#[tokio::test]
async fn what_is_not_served_is_not_found_and_the_hint_lists_what_is() {
    let catalog = three_versions().load(&Config::default()).await;
    for (reference, code, hint) in [
        ("b", "model_not_found", "`a`"),
        ("b:1", "model_not_found", "`a`"),
        (
            "a@nosuch",
            "model_alias_not_found",
            "`candidate`, `champion`",
        ),
        ("a:10", "model_version_not_found", "`1`, `2`"),
        ("a:7", "model_version_not_found", "`1`, `2`"),
    ] {
        let error = resolve(&catalog, reference).unwrap_err();
        assert_eq!((error.class(), error.code()), (ErrorClass::NotFound, code));
        assert!(error.hint().unwrap().contains(hint), "{error}");
    }
}

#[tokio::test]
async fn a_broken_version_stops_only_itself_and_keeps_its_reason() {
    let models = three_versions();
    models.write("a/aliases.yaml", "champion: 1\nbroken: 11\n");
    models.write("a/11/MLmodel", "flavors: {onnx: {data: ../1/model.onnx}}");
    models.write("dangling/1/MLmodel", "");
    models.write("dangling/aliases.yaml", "champion: 2");
    models.write("refused/1/MLmodel", "flavors: {onnx: {data: model.onnx}}");
    models.write("refused/1/tags.yaml", "refuse: fare");
    let model = fixture("models/linreg_col/model.onnx");
    models.write("refused/1/model.onnx", fs_err::read(model).unwrap());

    let catalog = models.load(&Config::default()).await;
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    for (reference, code, message, hint) in [
        (
            "a:11",
            "artifact_path_refused",
            "`a:11` did not load",
            "its own directory",
        ),
        (
            "a@broken",
            "artifact_path_refused",
            "`../1/model.onnx`",
            "its own directory",
        ),
        (
            "dangling",
            "model_alias_dangling",
            "`dangling` did not load",
            "point the alias",
        ),
        (
            "dangling:1",
            "model_alias_dangling",
            "points to version 2",
            "point the alias",
        ),
        (
            "refused",
            "plan_refused",
            "column `fare` comes from nowhere",
            "bind it",
        ),
    ] {
        let error = resolve(&catalog, reference).unwrap_err();
        assert_eq!(
            (error.class(), error.code()),
            (ErrorClass::Unavailable, "model_unavailable")
        );
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}");
        let Error::Unavailable { failure, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(failure.code(), code);
    }
    let readiness = catalog.readiness();
    assert_eq!(readiness.failed, ["a:11", "dangling", "refused:1"]);
    assert_eq!(readiness.n_loaded, 1);
    assert!(readiness.is_ready(Ready::Any));
    assert!(!readiness.is_ready(Ready::All));
}

#[tokio::test]
async fn the_listing_shows_every_version_with_its_state() {
    let catalog = three_versions().load(&Config::default()).await;
    let status = catalog.model("a").unwrap();
    assert_eq!(status.serving.as_ref().unwrap().version, ModelVersion(1));
    let states: Vec<_> = status
        .versions
        .iter()
        .map(|status| {
            (
                status.version.0,
                matches!(status.state, VersionState::Loaded(_)),
            )
        })
        .collect();
    assert_eq!(states, [(1, true), (2, true), (10, false)]);
    assert!(catalog.model("b").is_err());
}

#[tokio::test]
async fn a_model_that_fails_on_its_own_example_does_not_go_live() {
    let models = Models::new(&[]);
    // The graph gives two rows for each that it is given.
    let graph = test_models::model(
        &test_models::Proto::default()
            .message(
                1,
                &test_models::node("Concat", &["x", "x"], "y").message(5, &axis(0)),
            )
            .text(2, "g")
            .message(11, &test_models::value_info("x", FLOAT, &[-1, 2]))
            .message(12, &test_models::value_info("y", FLOAT, &[-1, 2])),
    );
    models.write("m/1/model.onnx", &graph);
    models.write(
        "m/1/MLmodel",
        "{flavors: {onnx: {data: model.onnx}}, \
         saved_input_example_info: {artifact_path: example.json, type: ndarray}}",
    );
    models.write("m/1/example.json", "[[1, 2]]");
    let error = models.check("m").await.unwrap_err();
    assert!(
        error.to_string().contains("its own input example"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("has 2 rows where its inputs have 1"),
        "{error}"
    );

    models.write("m/1/example.json", "[[1, 2, 3]]");
    let version = models.check("m").await.unwrap();
    assert_eq!(
        version.model.warm_run(),
        None,
        "made-up values decide nothing"
    );
}

/// `AttributeProto` of an integer named `axis`.
fn axis(value: u64) -> test_models::Proto {
    let name = test_models::Proto::default().text(1, "axis");
    name.number(3, value).number(20, 2)
}

#[tokio::test]
async fn check_one_takes_a_version_that_no_alias_wants() {
    let models = three_versions();
    assert_eq!(models.check("a:10").await.unwrap().plan, 3);
    assert_eq!(models.check("a").await.unwrap().version, ModelVersion(1));
    for (reference, code) in [
        ("b", "model_not_found"),
        ("a@nosuch", "model_alias_not_found"),
        ("a:11", "model_unavailable"),
    ] {
        assert_eq!(models.check(reference).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn before_the_first_load_everything_is_unavailable() {
    let catalog = ModelCatalog::<usize>::loading();
    let error = resolve(&catalog, "a").unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::Unavailable, "models_loading")
    );
    assert!(!catalog.readiness().is_ready(Ready::Any));
    catalog.publish(Snapshot::new(Vec::new(), true));
    assert!(catalog.readiness().is_ready(Ready::All));
    assert_eq!(
        resolve(&catalog, "a").unwrap_err().code(),
        "model_not_found"
    );
}

/// Gives the plan it is told to, or refuses.
#[derive(Clone)]
pub(super) struct Told(Arc<std::sync::Mutex<Option<usize>>>);

impl Told {
    pub(super) fn new(told: Option<usize>) -> Self {
        Self(Arc::new(told.into()))
    }

    pub(super) fn tell(&self, told: Option<usize>) {
        *self.0.lock().unwrap() = told;
    }
}

impl Binder for Told {
    type Plan = usize;

    fn bind(&self, _: &Candidate<'_>) -> Result<usize, BindError> {
        let told = *self.0.lock().unwrap();
        told.ok_or_else(|| Box::new(Refused("x".to_owned())) as BindError)
    }
}

impl<B: Binder> Watcher<B> {
    /// As `run` does when told that the features have changed, to the end.
    pub(super) async fn follow_now(&mut self) {
        let now = Instant::now();
        self.features.pending = Some((now, now));
        self.settle().await;
    }
}

#[tokio::test]
async fn a_version_is_bound_anew_and_keeps_its_plan_where_the_new_one_is_refused() {
    let models = Models::new(&[("a", 1, "linreg_col")]);
    let binder = Told::new(Some(1));
    let mut watcher = models.watch(binder.clone()).await;
    let catalog = watcher.catalog();
    let held = resolve(&catalog, "a").unwrap();
    for (told, wanted) in [(Some(2), 2), (None, 2), (Some(3), 3)] {
        binder.tell(told);
        watcher.follow_now().await;
        let resolved = resolve(&catalog, "a").unwrap();
        assert_eq!(resolved.version.plan, wanted);
        let status = catalog.model("a").unwrap();
        let setback = status.versions[0].setback.as_ref();
        assert_eq!(
            setback.map(|error| error.code()),
            told.is_none().then_some("plan_refused")
        );
    }
    assert_eq!(held.version.plan, 1);
}

#[tokio::test]
async fn a_version_that_did_not_bind_is_loaded_once_it_does() {
    let models = Models::new(&[("a", 1, "linreg_col")]);
    let binder = Told::new(None);
    let mut watcher = models.watch(binder.clone()).await;
    let catalog = watcher.catalog();
    assert_eq!(catalog.readiness().failed, ["a:1"]);
    binder.tell(Some(1));
    watcher.follow_now().await;
    assert_eq!(resolve(&catalog, "a").unwrap().version.plan, 1);
    assert!(catalog.readiness().failed.is_empty());
}
