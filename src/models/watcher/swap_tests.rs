//! Versions that come and go under a catalog that is in use.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;

use super::tests::{CountInputs, Models, Told, resolve, resolved};
use super::*;
use crate::inference::test_models::{self, fixture};
use crate::models::registry::{self, ModelRegistry, RegisteredModel};
use crate::models::{Choice, Config, Policy, VersionState};
use crate::types::deadline::Deadline;
use crate::types::names::ModelVersion;

/// A registry that says what it is told to, and counts.
#[derive(Default)]
pub(super) struct Scripted {
    /// By name.
    models: Mutex<BTreeMap<String, Registered>>,
    is_down: AtomicBool,
    n_lists: AtomicUsize,
    n_directories: AtomicUsize,
    /// What `retain` was last given.
    retained: Mutex<Vec<u64>>,
}

#[derive(Default)]
struct Registered {
    aliases: BTreeMap<String, u64>,
    /// The recorded model of each version.
    versions: BTreeMap<u64, &'static str>,
}

impl Scripted {
    /// Model `a` with these versions, and its champion.
    pub(super) fn new(versions: &[(u64, &'static str)], champion: u64) -> Arc<Self> {
        let scripted = Self::default();
        let versions = versions.iter().copied().collect();
        let aliases = BTreeMap::from([("champion".to_owned(), champion)]);
        let registered = Registered { aliases, versions };
        *scripted.models.lock().unwrap() = BTreeMap::from([("a".to_owned(), registered)]);
        Arc::new(scripted)
    }

    pub(super) fn point(&self, alias: &str, version: u64) {
        let mut models = self.models.lock().unwrap();
        let aliases = &mut models.get_mut("a").unwrap().aliases;
        aliases.insert(alias.to_owned(), version);
    }

    fn register(&self, version: u64, recorded: &'static str) {
        let mut models = self.models.lock().unwrap();
        let versions = &mut models.get_mut("a").unwrap().versions;
        versions.insert(version, recorded);
    }

    /// How often the files of a version were asked for: once for each load.
    fn n_loads(&self) -> usize {
        self.n_directories.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ModelRegistry for Scripted {
    fn location(&self) -> String {
        "scripted".to_owned()
    }

    async fn list(&self) -> Result<Vec<Listing>, registry::Error> {
        self.n_lists.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(registry::Error::Unreadable {
                reason: "connection refused".to_owned(),
            });
        }
        let models = self.models.lock().unwrap();
        let listings = models.iter().map(|(name, registered)| Listing {
            name: name.clone(),
            model: Ok(RegisteredModel {
                versions: registered
                    .versions
                    .keys()
                    .map(|version| (ModelVersion(*version), Tags::new()))
                    .collect(),
                aliases: registered
                    .aliases
                    .iter()
                    .map(|(alias, version)| (alias.clone(), ModelVersion(*version)))
                    .collect(),
            }),
        });
        Ok(listings.collect())
    }

    async fn directory(
        &self,
        model: &str,
        version: ModelVersion,
    ) -> Result<PathBuf, registry::Error> {
        self.n_directories.fetch_add(1, Ordering::Relaxed);
        let models = self.models.lock().unwrap();
        let recorded = models.get(model).and_then(|m| m.versions.get(&version.0));
        let recorded = recorded.ok_or_else(|| registry::Error::UnknownVersion {
            model: model.to_owned(),
            version,
        })?;
        Ok(fixture("models").join(recorded))
    }

    async fn retain(&self, kept: &[(String, ModelVersion)]) -> Result<(), registry::Error> {
        let versions: BTreeSet<u64> = kept.iter().map(|(_, version)| version.0).collect();
        *self.retained.lock().unwrap() = versions.into_iter().collect();
        Ok(())
    }
}

pub(super) const LINEAR: &str = "linreg_col";
const TENSOR: &str = "linreg_tensor";
/// There are no such files.
pub(super) const BROKEN: &str = "no_such_model";

fn loader(registry: &Arc<Scripted>, policy: Policy) -> Loader<CountInputs> {
    let registry: Arc<dyn ModelRegistry> = Arc::<Scripted>::clone(registry);
    Loader::new(registry, test_models::runtime(), CountInputs, policy)
}

async fn watch_with(
    registry: &Arc<Scripted>,
    policy: Policy,
    settings: Settings,
) -> Watcher<CountInputs> {
    let mut watcher = Watcher::open(loader(registry, policy), settings)
        .await
        .unwrap();
    watcher.start().await;
    watcher
}

async fn watch(registry: &Arc<Scripted>) -> Watcher<CountInputs> {
    watch_with(registry, Policy::default(), Settings::default()).await
}

fn keeping(time: Duration, most: usize) -> Policy {
    let config = Config {
        keep_previous: time,
        max_previous: most,
        ..Config::default()
    };
    config.into()
}

impl<B: Binder> Watcher<B> {
    /// As `run` does when told to look, to the end.
    pub(super) async fn look_now(&mut self) {
        self.look();
        self.settle().await;
    }
}

#[tokio::test]
async fn an_alias_that_moves_moves_the_name_and_loads_only_what_is_new() {
    let registry = Scripted::new(&[(1, LINEAR), (2, TENSOR)], 1);
    let mut watcher = watch(&registry).await;
    let catalog = watcher.catalog();
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(registry.n_loads(), 1);
    let held = resolve(&catalog, "a").unwrap();

    registry.point("champion", 2);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    assert_eq!(registry.n_loads(), 2);
    assert_eq!(
        held.version.version,
        ModelVersion(1),
        "requests keep theirs"
    );

    watcher.look_now().await;
    assert_eq!(registry.n_loads(), 2, "nothing is new");
}

#[tokio::test]
async fn going_back_within_the_time_that_versions_are_kept_loads_nothing() {
    let registry = Scripted::new(&[(1, LINEAR), (2, TENSOR)], 1);
    let mut watcher = watch(&registry).await;
    let catalog = watcher.catalog();
    let first = resolve(&catalog, "a").unwrap().version;
    registry.point("champion", 2);
    watcher.look_now().await;
    let status = catalog.model("a").unwrap();
    let kept = status.version(ModelVersion(1)).unwrap();
    assert!(kept.kept_until.is_some());
    assert_eq!(resolved(&catalog, "a:1"), "1", "it answers by its number");
    assert_eq!(catalog.readiness().n_kept, 1);

    registry.point("champion", 1);
    watcher.look_now().await;
    let back = resolve(&catalog, "a").unwrap().version;
    assert!(Arc::ptr_eq(&first, &back));
    assert_eq!(registry.n_loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_kept_version_is_freed_when_its_time_is_over_and_no_request_has_it() {
    let registry = Scripted::new(&[(1, LINEAR), (2, TENSOR)], 1);
    let minute = Duration::from_secs(60);
    let mut watcher = watch_with(&registry, keeping(minute, 2), Settings::default()).await;
    let catalog = watcher.catalog();
    let held = resolve(&catalog, "a").unwrap();
    registry.point("champion", 2);
    watcher.look_now().await;
    tokio::time::advance(minute - Duration::from_secs(1)).await;
    watcher.settle().await;
    assert_eq!(watcher.slots.n_loaded(), 2);

    tokio::time::advance(Duration::from_secs(1)).await;
    watcher.settle().await;
    assert_eq!(watcher.slots.n_loaded(), 1);
    assert_eq!(
        resolve(&catalog, "a:1").unwrap_err().code(),
        "model_version_not_found"
    );
    assert!(watcher.slots.is_waiting_for_requests());
    assert!(!held.version.model.is_last_holder());

    let weak = Arc::downgrade(&held.version);
    drop(held);
    assert!(weak.upgrade().is_none(), "only its engines are still held");
    watcher.settle().await;
    assert!(!watcher.slots.is_waiting_for_requests());
}

#[tokio::test]
async fn two_hundred_swaps_hold_no_more_versions_than_a_few() {
    let registry = Scripted::new(&[(1, LINEAR)], 1);
    let policy = keeping(Duration::from_secs(3600), 2);
    let mut watcher = watch_with(&registry, policy, Settings::default()).await;
    for version in 2..=201 {
        registry.register(version, LINEAR);
        registry.point("champion", version);
        watcher.look_now().await;
        assert!(watcher.slots.n_loaded() <= 3);
        assert!(!watcher.slots.is_waiting_for_requests());
    }
    let catalog = watcher.catalog();
    assert_eq!(resolved(&catalog, "a"), "201@champion");
    let readiness = catalog.readiness();
    assert_eq!((readiness.n_loaded, readiness.n_kept), (1, 2));
    assert_eq!(resolved(&catalog, "a:200"), "200", "the last to go stay");
    let files = registry.retained.lock().unwrap().clone();
    assert_eq!(files, [199, 200, 201], "of the others no files either");
}

#[tokio::test]
async fn a_version_that_does_not_load_never_goes_live() {
    let registry = Scripted::new(&[(1, LINEAR), (2, BROKEN)], 1);
    let mut watcher = watch(&registry).await;
    let catalog = watcher.catalog();
    registry.point("champion", 2);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(resolved(&catalog, "a@champion"), "1@champion");
    let status = catalog.model("a").unwrap();
    let behind = &status.behind[0];
    assert_eq!(
        (behind.alias.as_deref(), behind.wanted, behind.served),
        (Some("champion"), ModelVersion(2), ModelVersion(1))
    );
    assert_eq!(status.behind.len(), 1);
    let wanted = &status.version(ModelVersion(2)).unwrap().state;
    assert!(matches!(wanted, VersionState::Failed(error) if error.code() == "artifact_unreadable"));
    let readiness = catalog.readiness();
    assert!(readiness.failed.is_empty() && readiness.is_ready(crate::models::Ready::All));
    assert!(readiness.behind[0].contains("served by version 1, not yet by version 2"));
    assert!(
        status
            .version(ModelVersion(1))
            .unwrap()
            .kept_until
            .is_none()
    );

    let tried = registry.n_loads();
    watcher.look_now().await;
    assert_eq!(registry.n_loads(), tried, "it is not tried at each look");

    registry.register(3, TENSOR);
    registry.point("champion", 3);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "3@champion");
    assert!(catalog.model("a").unwrap().behind.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_failed_is_tried_again_after_a_while() {
    let registry = Scripted::new(&[(1, LINEAR), (2, BROKEN)], 1);
    let watcher = watch(&registry).await;
    let (catalog, handle) = (watcher.catalog(), watcher.handle());
    let shutdown = Shutdown::new();
    shutdown.spawn("watcher", watcher.run(shutdown.clone()));
    registry.point("champion", 2);
    handle.look();
    until(|| !catalog.model("a").unwrap().behind.is_empty()).await;
    let since = Instant::now();
    until(|| registry.n_loads() >= 5).await;
    assert!(since.elapsed() >= Duration::from_secs(10 + 20));
    registry.register(2, TENSOR);
    until(|| resolved(&catalog, "a") == "2@champion").await;
    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(5)).await);
}

/// Waits in paused time.
async fn until(condition: impl Fn() -> bool) {
    let mut every = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..1_000_000 {
        every.tick().await;
        if condition() {
            return;
        }
    }
    panic!("it did not come to that");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_changes_nothing_and_is_asked_again_with_pauses() {
    let registry = Scripted::new(&[(1, LINEAR), (2, TENSOR)], 1);
    let settings = Settings {
        poll: Some(Duration::from_secs(10)),
        ..Settings::default()
    };
    let watcher = watch_with(&registry, Policy::default(), settings).await;
    let (catalog, handle) = (watcher.catalog(), watcher.handle());
    let shutdown = Shutdown::new();
    shutdown.spawn("watcher", watcher.run(shutdown.clone()));
    registry.is_down.store(true, Ordering::Relaxed);
    registry.point("champion", 2);
    let n_failed = || {
        let status = catalog.registry().unwrap();
        status
            .failure
            .as_ref()
            .map_or(0, |failure| failure.n_attempts)
    };
    until(|| n_failed() == 4).await;
    let before = Instant::now();
    until(|| n_failed() == 5).await;
    let wait = before.elapsed();
    assert!((29..=31).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(
        catalog.registry().unwrap().failure.as_ref().unwrap().code,
        "model_registry_unreadable"
    );

    registry.is_down.store(false, Ordering::Relaxed);
    let before = Instant::now();
    handle.look();
    until(|| resolved(&catalog, "a") == "2@champion").await;
    assert!(before.elapsed() < Duration::from_secs(1), "it was told");
    assert_eq!(catalog.registry().unwrap().failure, None);
    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn many_hints_are_one_look_and_many_changes_of_the_features_one_binding() {
    let models = Models::new(&[("a", 1, LINEAR)]);
    let binder = Told::new(Some(1));
    let watcher = models.watch(binder.clone()).await;
    let (catalog, handle) = (watcher.catalog(), watcher.handle());
    let registry = Scripted::new(&[(1, LINEAR)], 1);
    let looking = watch(&registry).await;
    let hints = looking.handle();
    let shutdown = Shutdown::new();
    shutdown.spawn("watcher", watcher.run(shutdown.clone()));
    shutdown.spawn("looking", looking.run(shutdown.clone()));
    let lists = registry.n_lists.load(Ordering::Relaxed);
    for _ in 0..1000 {
        hints.look();
    }
    binder.tell(Some(2));
    for plan in 2..=6 {
        binder.tell(Some(plan));
        handle.features_changed();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(resolve(&catalog, "a").unwrap().version.plan, 1);
    }
    until(|| resolve(&catalog, "a").unwrap().version.plan == 6).await;
    assert_eq!(registry.n_lists.load(Ordering::Relaxed), lists + 1);
    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_model_that_leaves_the_registry_is_no_longer_served_and_back_at_once_when_it_returns() {
    let registry = Scripted::new(&[(1, LINEAR)], 1);
    let mut watcher = watch(&registry).await;
    let catalog = watcher.catalog();
    let all = std::mem::take(&mut *registry.models.lock().unwrap());
    watcher.look_now().await;
    assert_eq!(
        resolve(&catalog, "a").unwrap_err().code(),
        "model_not_found"
    );
    *registry.models.lock().unwrap() = all;
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(registry.n_loads(), 1);
}

#[tokio::test]
async fn a_model_whose_entry_breaks_is_served_as_it_was() {
    let models = Models::new(&[("a", 1, LINEAR), ("a", 2, TENSOR)]);
    models.write("a/aliases.yaml", "champion: 1\n");
    let mut watcher = models.watch(CountInputs).await;
    let catalog = watcher.catalog();
    models.write("a/aliases.yaml", "champion: 7\n");
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    let status = catalog.model("a").unwrap();
    assert_eq!(
        status.trouble.as_ref().unwrap().code(),
        "model_alias_dangling"
    );
    models.write("a/aliases.yaml", "champion: 2\n");
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    assert!(catalog.model("a").unwrap().trouble.is_none());
}

/// A version's own copy of a recorded model.
fn copy_files(models: &Models, version: &str, recorded: &str) {
    for entry in fs_err::read_dir(fixture("models").join(recorded)).unwrap() {
        let entry = entry.unwrap();
        let content = fs_err::read(entry.path()).unwrap();
        let name = entry.file_name().into_string().unwrap();
        models.write(&format!("{version}/{name}"), content);
    }
}

#[tokio::test]
async fn files_that_change_are_loaded_again_and_broken_ones_change_nothing() {
    let models = Models::new(&[]);
    copy_files(&models, "a/1", LINEAR);
    let mut watcher = models.watch(CountInputs).await;
    let catalog = watcher.catalog();
    let first = resolve(&catalog, "a").unwrap().version;

    models.write("a/1/tags.yaml", "team: x");
    watcher.look_now().await;
    let tagged = resolve(&catalog, "a").unwrap().version;
    assert_eq!(tagged.tags["team"], "x");
    assert_eq!(
        tagged.loaded_at, first.loaded_at,
        "new tags, the same engines"
    );

    models.write("a/1/model.onnx", "not a graph");
    watcher.look_now().await;
    let now = resolve(&catalog, "a").unwrap().version;
    assert!(Arc::ptr_eq(&now, &tagged));
    let status = catalog.model("a").unwrap();
    assert!(status.versions[0].setback.is_some());

    copy_files(&models, "a/1", "clf_on_col");
    watcher.look_now().await;
    let now = resolve(&catalog, "a").unwrap().version;
    assert_eq!(now.model.graph().outputs.len(), 2);
    assert!(catalog.model("a").unwrap().versions[0].setback.is_none());
}

#[tokio::test]
async fn the_settings_decide_which_versions_are_wanted() {
    let versions = [(1, LINEAR), (2, TENSOR), (3, LINEAR)];
    let registry = Scripted::new(&versions, 1);
    registry.point("blue", 2);
    let served = async |policy| {
        let catalog = watch_with(&registry, policy, Settings::default())
            .await
            .catalog();
        let loaded = (1..=3).filter(|version| resolve(&catalog, &format!("a:{version}")).is_ok());
        (resolved(&catalog, "a"), loaded.collect::<Vec<u64>>())
    };
    let policy = |text: &str| Policy::from(toml::from_str::<Config>(text).unwrap());
    for (text, plain, loaded) in [
        ("", "1@champion", vec![1, 2]),
        ("aliases = []", "1@champion", vec![1]),
        ("aliases = ['blue']", "1@champion", vec![1, 2]),
        ("alias = 'blue'\naliases = []", "2@blue", vec![2]),
        ("alias = 'latest'\naliases = []", "3", vec![3]),
        ("aliases = []\nversions = ['a:3']", "1@champion", vec![1, 3]),
    ] {
        let wanted = (plain.to_owned(), loaded);
        assert_eq!(served(policy(text)).await, wanted, "{text}");
    }
    let choice = |version, alias: Option<&str>| Policy {
        models: BTreeMap::from([(
            "a".to_owned(),
            Choice {
                version,
                alias: alias.map(str::to_owned),
                followed: Vec::new(),
            },
        )]),
        ..policy("aliases = []")
    };
    let pinned = served(choice(Some(ModelVersion(3)), Some("blue"))).await;
    assert_eq!(pinned, ("3".to_owned(), vec![2, 3]));
    let aliased = served(choice(None, Some("blue"))).await;
    assert_eq!(aliased, ("2@blue".to_owned(), vec![2]));
    let mut shared = choice(None, None);
    if let Some(choice) = shared.models.get_mut("a") {
        choice.followed.push("blue".to_owned());
    }
    assert_eq!(served(shared).await.1, [1, 2]);
}

fn cached(cache: &TempDir) -> Settings {
    Settings {
        cache: Some(cache.path().join("below")),
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_start_without_the_registry_serves_what_served_last() {
    let cache = tempfile::tempdir().unwrap();
    let registry = Scripted::new(&[(1, LINEAR), (2, TENSOR), (3, BROKEN)], 1);
    registry.point("blue", 2);
    let mut watcher = watch_with(&registry, Policy::default(), cached(&cache)).await;
    registry.point("champion", 3);
    watcher.look_now().await;
    drop(watcher);

    registry.is_down.store(true, Ordering::Relaxed);
    let mut watcher = watch_with(&registry, Policy::default(), cached(&cache)).await;
    let catalog = watcher.catalog();
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(resolved(&catalog, "a@blue"), "2@blue");
    let status = catalog.registry().unwrap();
    assert!(status.from_saved_set && status.failure.is_some() && status.read_at.is_some());

    registry.is_down.store(false, Ordering::Relaxed);
    registry.point("champion", 2);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    assert!(!catalog.registry().unwrap().from_saved_set);
}

#[tokio::test]
async fn a_version_that_fails_after_a_restart_is_stood_in_for_by_the_one_that_served_before() {
    let cache = tempfile::tempdir().unwrap();
    let registry = Scripted::new(&[(1, LINEAR), (2, BROKEN)], 1);
    drop(watch_with(&registry, Policy::default(), cached(&cache)).await);
    registry.point("champion", 2);
    let watcher = watch_with(&registry, Policy::default(), cached(&cache)).await;
    let catalog = watcher.catalog();
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(catalog.model("a").unwrap().behind.len(), 1);
}

#[tokio::test]
async fn without_registry_and_without_a_saved_set_there_is_no_start() {
    let cache = tempfile::tempdir().unwrap();
    let registry = Scripted::new(&[(1, LINEAR)], 1);
    let open = async |settings| {
        let outcome = Watcher::open(loader(&registry, Policy::default()), settings).await;
        outcome.map(|_| ()).unwrap_err()
    };
    registry.is_down.store(true, Ordering::Relaxed);
    let error = open(cached(&cache)).await;
    assert_eq!(error.code(), "models_nothing_to_start_from");
    assert!(error.to_string().contains("connection refused"), "{error}");
    let error = open(Settings::default()).await;
    assert_eq!(error.code(), "model_registry_unreadable");

    for content in [
        "{",
        r#"{"format": 1, "registry": "elsewhere", "models": {}}"#,
    ] {
        let path = saved::path(&cache.path().join("below"));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        let error = open(cached(&cache)).await;
        assert_eq!(error.code(), "models_nothing_to_start_from", "{content}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_call_and_no_call_meets_the_old_version_after_them() {
    let registry = Scripted::new(&[(1, LINEAR), (2, TENSOR)], 1);
    let mut watcher = watch(&registry).await;
    let catalog = watcher.catalog();
    let shutdown = Shutdown::new();
    // Ten times the number of the swap, and the version that serves since; zero while a swap is going on.
    let reported = Arc::new(AtomicU64::new(1));
    let calls = Arc::new(AtomicUsize::new(0));
    let (failed, wrong) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..4 {
        let (catalog, stop) = (Arc::clone(&catalog), shutdown.clone());
        let (reported, calls) = (Arc::clone(&reported), Arc::clone(&calls));
        let (failed, wrong) = (Arc::clone(&failed), Arc::clone(&wrong));
        shutdown.spawn("caller", async move {
            while !stop.is_stopping() {
                let before = reported.load(Ordering::SeqCst);
                let served = call(&catalog).await;
                let is_between = before != 0 && before == reported.load(Ordering::SeqCst);
                match served {
                    Some(version) if is_between && version != before % 10 => {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(_) => {}
                    None => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    for swap in 0..50 {
        let to = if swap % 2 == 0 { 2 } else { 1 };
        registry.point("champion", to);
        reported.store(0, Ordering::SeqCst);
        watcher.look_now().await;
        reported.store((swap + 1) * 10 + to, Ordering::SeqCst);
        let enough = calls.load(Ordering::Relaxed) + 20;
        while calls.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(registry.n_loads(), 2);
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(10)).await);
}

/// Runs the model; the version that did.
async fn call(catalog: &ModelCatalog<usize>) -> Option<u64> {
    let resolved = resolve(catalog, "a").ok()?;
    let rows = ndarray::ArrayD::zeros(vec![1, 4]);
    let inputs = vec![crate::types::tensor::Tensor::Float32(rows)];
    let deadline = Deadline::after(Duration::from_secs(10));
    resolved.version.model.infer(inputs, deadline).await.ok()?;
    Some(resolved.version.version.0)
}
