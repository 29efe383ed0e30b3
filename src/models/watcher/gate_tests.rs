//! Names that move only to versions that were judged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::{self, BoxFuture, FutureExt};

use super::swap_tests::{BROKEN, LINEAR, Scripted};
use super::tests::resolved;
use super::*;
use crate::error::ErrorClass;
use crate::inference::test_models;
use crate::models::bind::{BindError, Candidate, Verdict};
use crate::models::catalog::{Gate, ServedVersion};
use crate::models::registry::ModelRegistry;
use crate::models::{ModelCatalog, Policy};
use crate::types::names::ModelVersion;

#[derive(Debug, thiserror::Error)]
#[error("it flips")]
struct Flips;

impl Failure for Flips {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unprocessable
    }

    fn code(&self) -> &'static str {
        "gate_says_no"
    }
}

/// Judges as it is told to, by version; of others it never comes to an end.
#[derive(Clone, Default)]
struct Judge {
    verdicts: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    /// Which versions were judged against which.
    judged: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Versions that were warmed up.
    warm: Arc<Mutex<Vec<u64>>>,
}

impl Judge {
    fn says(&self, version: u64, verdict: &'static str) {
        self.verdicts.lock().unwrap().insert(version, verdict);
    }

    fn judged(&self) -> Vec<(u64, u64)> {
        self.judged.lock().unwrap().clone()
    }
}

impl Binder for Judge {
    type Plan = ();

    fn bind(&self, _: &Candidate<'_>) -> Result<(), BindError> {
        Ok(())
    }

    fn warm_up<'a>(&'a self, version: &'a ServedVersion<()>) -> BoxFuture<'a, ()> {
        self.warm.lock().unwrap().push(version.version.0);
        future::ready(()).boxed()
    }

    fn is_gated(&self, name: &str) -> bool {
        name == "a"
    }

    fn judge(
        &self,
        candidate: Arc<ServedVersion<()>>,
        served: ModelVersion,
    ) -> BoxFuture<'static, Verdict> {
        let version = candidate.version.0;
        self.judged.lock().unwrap().push((version, served.0));
        let said = self.verdicts.lock().unwrap().get(&version).copied();
        match said {
            Some("yes") => future::ready(Verdict::Passed("passed".to_owned())).boxed(),
            Some("unjudged") => future::ready(Verdict::Unjudged("no rows".to_owned())).boxed(),
            Some("no") => future::ready(Verdict::Refused(Box::new(Flips))).boxed(),
            Some(_) => future::ready(Verdict::Failed(Box::new(Flips))).boxed(),
            None => future::pending().boxed(),
        }
    }
}

async fn open(registry: &Arc<Scripted>, judge: &Judge, settings: Settings) -> Watcher<Judge> {
    let registry: Arc<dyn ModelRegistry> = Arc::<Scripted>::clone(registry);
    let policy = Policy::default();
    let loader = Loader::new(registry, test_models::runtime(), judge.clone(), policy);
    Watcher::open(loader, settings).await.unwrap()
}

async fn watch(registry: &Arc<Scripted>, judge: &Judge) -> Watcher<Judge> {
    let mut watcher = open(registry, judge, Settings::default()).await;
    watcher.start().await;
    watcher
}

fn gate_of(catalog: &ModelCatalog<()>, version: u64) -> Option<Gate> {
    let status = catalog.model("a").unwrap();
    status.version(ModelVersion(version)).unwrap().gate.clone()
}

const FOUR: [(u64, &str); 4] = [(1, LINEAR), (2, LINEAR), (3, LINEAR), (4, LINEAR)];

#[tokio::test]
async fn a_refused_version_stays_out_and_a_later_one_that_passes_goes_live() {
    let (registry, judge) = (Scripted::new(&FOUR, 2), Judge::default());
    let mut watcher = watch(&registry, &judge).await;
    let catalog = watcher.catalog();
    assert_eq!(
        resolved(&catalog, "a"),
        "2@champion",
        "nothing served before"
    );
    assert_eq!(judge.judged(), []);

    judge.says(3, "no");
    registry.point("champion", 3);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    assert_eq!(resolved(&catalog, "a@champion"), "2@champion");
    assert_eq!(resolved(&catalog, "a:3"), "3", "by its number it answers");
    let gate = gate_of(&catalog, 3).unwrap();
    assert_eq!(gate.failure().unwrap().code(), "gate_says_no");
    let behind = &catalog.model("a").unwrap().behind;
    assert_eq!(
        (behind[0].wanted, behind[0].served),
        (ModelVersion(3), ModelVersion(2))
    );
    watcher.look_now().await;
    assert_eq!(judge.judged(), [(3, 2)], "once");

    judge.says(4, "yes");
    registry.point("champion", 4);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "4@champion");
    assert!(matches!(gate_of(&catalog, 4), Some(Gate::Passed(_))));
    assert!(catalog.model("a").unwrap().behind.is_empty());
    assert_eq!(judge.judged(), [(3, 2), (4, 2)]);
    assert_eq!(*judge.warm.lock().unwrap(), [2, 3, 4]);
}

#[tokio::test]
async fn the_way_back_and_other_aliases_are_never_held_up() {
    let (registry, judge) = (Scripted::new(&FOUR, 3), Judge::default());
    let mut watcher = watch(&registry, &judge).await;
    let catalog = watcher.catalog();
    registry.point("champion", 1);
    registry.point("candidate", 4);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "1@champion");
    assert_eq!(resolved(&catalog, "a@candidate"), "4@candidate");
    registry.point("candidate", 2);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a@candidate"), "2@candidate");
    assert_eq!(judge.judged(), []);
}

#[tokio::test]
async fn a_verdict_counts_until_the_alias_is_pointed_away_and_back() {
    let (registry, judge) = (Scripted::new(&FOUR, 2), Judge::default());
    let mut watcher = watch(&registry, &judge).await;
    let catalog = watcher.catalog();
    judge.says(3, "no");
    registry.point("champion", 3);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    registry.point("champion", 2);
    watcher.look_now().await;
    assert!(catalog.model("a").unwrap().behind.is_empty());
    judge.says(3, "unjudged");
    registry.point("champion", 3);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "3@champion");
    assert!(matches!(gate_of(&catalog, 3), Some(Gate::Unjudged(_))));
    assert_eq!(judge.judged(), [(3, 2), (3, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_judged_is_judged_again_after_a_while() {
    let (registry, judge) = (Scripted::new(&FOUR, 2), Judge::default());
    let mut watcher = watch(&registry, &judge).await;
    let catalog = watcher.catalog();
    judge.says(3, "cannot");
    registry.point("champion", 3);
    watcher.look_now().await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    assert!(matches!(gate_of(&catalog, 3), Some(Gate::Failed(_))));
    judge.says(3, "yes");
    watcher.look_now().await;
    assert_eq!(judge.judged(), [(3, 2)], "not at once");
    let due = watcher.next_due();
    assert!(due <= Instant::now() + Duration::from_secs(10));
    tokio::time::advance(Duration::from_secs(10)).await;
    watcher.settle().await;
    assert_eq!(resolved(&catalog, "a"), "3@champion");
}

#[tokio::test]
async fn while_a_version_is_judged_the_old_one_serves_and_other_models_move() {
    let (registry, judge) = (Scripted::new(&FOUR, 2), Judge::default());
    let watcher = watch(&registry, &judge).await;
    let (catalog, handle) = (watcher.catalog(), watcher.handle());
    let shutdown = Shutdown::new();
    shutdown.spawn("watcher", watcher.run(shutdown.clone()));
    registry.point("champion", 3);
    let is_pending = || matches!(gate_of(&catalog, 3), Some(Gate::Pending));
    handle.look_until(is_pending).await;
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    registry.point("candidate", 4);
    let has_moved = || {
        let model = catalog.model("a").unwrap();
        model
            .version(ModelVersion(4))
            .is_some_and(|status| matches!(status.state, crate::models::VersionState::Loaded(_)))
    };
    handle.look_until(has_moved).await;
    assert_eq!(resolved(&catalog, "a@candidate"), "4@candidate");
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    shutdown.stop();
    assert!(shutdown.drain(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_restart_forgets_neither_who_served_nor_the_gate() {
    let cache = tempfile::tempdir().unwrap();
    let settings = || Settings {
        cache: Some(cache.path().to_owned()),
        ..Settings::default()
    };
    let (registry, judge) = (Scripted::new(&FOUR, 2), Judge::default());
    judge.says(3, "no");
    let mut watcher = open(&registry, &judge, settings()).await;
    watcher.start().await;
    registry.point("champion", 3);
    watcher.look_now().await;
    drop(watcher);

    let mut watcher = open(&registry, &judge, settings()).await;
    watcher.start().await;
    let catalog = watcher.catalog();
    assert_eq!(resolved(&catalog, "a"), "2@champion");
    assert_eq!(judge.judged(), [(3, 2), (3, 2)]);
}

#[tokio::test]
async fn where_the_one_that_served_does_not_load_nobody_waits_for_a_verdict() {
    let cache = tempfile::tempdir().unwrap();
    let settings = || Settings {
        cache: Some(cache.path().to_owned()),
        ..Settings::default()
    };
    let judge = Judge::default();
    judge.says(3, "no");
    let mut watcher = open(&Scripted::new(&FOUR, 2), &judge, settings()).await;
    watcher.start().await;
    drop(watcher);

    let registry = Scripted::new(&[(2, BROKEN), (3, LINEAR)], 3);
    let mut watcher = open(&registry, &judge, settings()).await;
    watcher.start().await;
    assert_eq!(resolved(&watcher.catalog(), "a"), "3@champion");
}
