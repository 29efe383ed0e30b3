//! What is compiled out of settings and what is loaded.

use super::*;
use crate::inference::test_models;
use crate::models::{ModelCatalog, testing};
use crate::types::signature::Graph;

/// Versions agree if their plans are equal.
fn agree(main: &ServedVersion<u8>, other: &ServedVersion<u8>) -> Result<(), String> {
    match main.plan == other.plan {
        true => Ok(()),
        false => Err(format!("{} is not {}", other.plan, main.plan)),
    }
}

/// A catalog with the settings, and the versions and their plans published under the aliases.
fn publish(settings: &str, versions: &[(u64, u8)], aliases: &[(&str, u64)]) -> ModelCatalog<u8> {
    let config: Config = toml::from_str(settings).unwrap();
    let catalog = ModelCatalog::with_traffic(Arc::new(Rules::new([("m", &config)], agree)));
    publish_again(&catalog, versions, aliases);
    catalog
}

fn publish_again(catalog: &ModelCatalog<u8>, versions: &[(u64, u8)], aliases: &[(&str, u64)]) {
    let versions = versions.iter().map(|(number, plan)| {
        let graph = Graph {
            optional: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        testing::version(*number, *plan, test_models::served(graph, Vec::new()))
    });
    testing::publish(catalog, versions.collect(), aliases);
}

fn resolve(catalog: &ModelCatalog<u8>, reference: &str) -> Resolved<u8> {
    catalog.resolve(&reference.parse().unwrap()).unwrap()
}

fn traffic(catalog: &ModelCatalog<u8>) -> Arc<Traffic<u8>> {
    catalog.model("m").unwrap().traffic.clone().unwrap()
}

/// `alias:version weight` of all shares.
fn shares(traffic: &Traffic<u8>) -> Vec<String> {
    let shares = traffic.shares();
    let texts = shares.map(|s| format!("{}:{} {}", s.alias.unwrap_or("-"), s.version, s.weight));
    texts.collect()
}

fn left_out(traffic: &Traffic<u8>) -> Vec<&'static str> {
    traffic.left_out().iter().map(Failure::code).collect()
}

/// The numbers of the versions that 200 keys fall to, each once.
fn met(traffic: &Traffic<u8>) -> Vec<u64> {
    let keys = (0..200).map(|key: u64| traffic.choose(&key.to_le_bytes()));
    let mut met: Vec<u64> = keys
        .map(|place| traffic.variant(place).version.version.0)
        .collect();
    met.sort_unstable();
    met.dedup();
    met
}

#[test]
fn aliases_share_the_plain_name_and_nothing_else() {
    let catalog = publish(
        "champion = 90\nchallenger = 10\nspare = 0",
        &[(1, 0), (2, 0), (3, 0)],
        &[("champion", 2), ("challenger", 1), ("spare", 3)],
    );
    let resolved = resolve(&catalog, "m");
    let traffic = resolved.traffic.unwrap();
    assert_eq!(shares(&traffic), ["challenger:1 10", "champion:2 90"]);
    assert_eq!(met(&traffic), [1, 2]);
    assert_eq!(traffic.only(), None);
    // The serving alias is the main one.
    assert_eq!(
        (resolved.version.version.0, resolved.alias.as_deref()),
        (2, Some("champion"))
    );
    for reference in ["m@challenger", "m:1"] {
        let resolved = resolve(&catalog, reference);
        assert_eq!(resolved.version.version.0, 1);
        assert!(resolved.traffic.is_none(), "{reference}");
    }
}

#[test]
fn without_settings_there_is_no_traffic() {
    for settings in ["", "shadow = []", "shadow_concurrency = 2"] {
        let catalog = publish(settings, &[(1, 0)], &[("champion", 1)]);
        assert!(resolve(&catalog, "m").traffic.is_none(), "{settings}");
        assert!(catalog.model("m").unwrap().traffic.is_none(), "{settings}");
    }
}

#[test]
fn an_alias_that_cannot_serve_leaves_its_share_to_the_others() {
    let settings = "champion = 50\nbroken = 20\nnowhere = 20\nother = 10";
    let aliases = [("champion", 1), ("broken", 2), ("other", 3)];
    let catalog = publish(settings, &[(1, 0), (3, 7)], &aliases);
    let traffic = traffic(&catalog);
    assert_eq!(shares(&traffic), ["champion:1 50"]);
    assert_eq!(
        left_out(&traffic),
        [
            "traffic_version_not_loaded",
            "traffic_alias_not_found",
            "traffic_versions_disagree"
        ]
    );
    let texts: Vec<String> = traffic.left_out().iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "alias `broken` of the traffic settings points to version 2, which is not loaded",
            "alias `nowhere` of the traffic settings is not registered",
            "alias `other` of the traffic settings points to version 3, which cannot stand in for version 1: 7 is not 0",
        ]
    );
    // One version and no shadow is as good as no settings.
    assert!(resolve(&catalog, "m").traffic.is_none());
    // Back again, with its old keys.
    publish_again(&catalog, &[(1, 0), (2, 0), (3, 0)], &aliases);
    assert_eq!(met(&self::traffic(&catalog)), [1, 2, 3]);
}

#[test]
fn keys_of_the_others_stay_where_they_are_when_an_alias_goes() {
    let settings = "champion = 50\nchallenger = 30\ncanary = 20";
    let aliases = [("champion", 1), ("challenger", 2), ("canary", 3)];
    let catalog = publish(settings, &[(1, 0), (2, 0), (3, 0)], &aliases);
    let all = traffic(&catalog);
    publish_again(&catalog, &[(1, 0), (2, 0)], &aliases);
    let without = traffic(&catalog);
    for key in 0..1_000u64 {
        let version = |traffic: &Traffic<u8>| {
            let place = traffic.choose(&key.to_le_bytes());
            traffic.variant(place).version.version.0
        };
        let (before, after) = (version(&all), version(&without));
        assert!(before == after || before == 3, "{key}: {before} {after}");
    }
}

#[test]
fn with_no_share_left_the_serving_rule_holds() {
    // By its alias, and without it by the highest version.
    for (aliases, version, alias) in [
        (&[("champion", 1)][..], 1, Some("champion")),
        (&[][..], 2, None),
    ] {
        let catalog = publish("canary = 1\nshadow = 'gone'", &[(1, 0), (2, 0)], aliases);
        let resolved = resolve(&catalog, "m");
        assert_eq!(
            (resolved.version.version.0, resolved.alias.as_deref()),
            (version, alias)
        );
        assert!(resolved.traffic.is_none());
        assert_eq!(left_out(&traffic(&catalog)).len(), 2);
    }
    // What is not loaded cannot serve either; the error is the one without settings.
    let catalog = publish("canary = 1", &[(1, 0)], &[("champion", 2)]);
    let error = catalog.resolve(&"m".parse().unwrap()).unwrap_err();
    assert_eq!(error.code(), "model_unavailable");
}

#[test]
fn a_share_serves_though_the_serving_alias_does_not() {
    let aliases = [("champion", 2), ("challenger", 1)];
    let catalog = publish("champion = 90\nchallenger = 10", &[(1, 0)], &aliases);
    let resolved = resolve(&catalog, "m");
    assert_eq!(resolved.version.version.0, 1);
    assert_eq!(resolved.alias.as_deref(), Some("challenger"));
}

#[test]
fn aliases_of_one_version_answer_as_one() {
    let settings = "champion = 90\nchallenger = 10\ncanary = 5";
    let aliases = [("champion", 2), ("challenger", 2), ("canary", 1)];
    let catalog = publish(settings, &[(1, 0), (2, 0)], &aliases);
    let traffic = traffic(&catalog);
    let mut names: Vec<&str> = (0..200u64)
        .map(|key| traffic.choose(&key.to_le_bytes()))
        .filter_map(|place| traffic.variant(place).alias.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["canary", "champion"]);
    publish_again(&catalog, &[(2, 0)], &[("champion", 2), ("challenger", 2)]);
    assert!(self::traffic(&catalog).only().is_some());
}

#[test]
fn the_largest_share_is_the_main_one_where_the_serving_alias_has_none() {
    let settings = "b = 40\nc = 40\na = 20";
    let versions = [(1, 7), (2, 0), (3, 0), (4, 0)];
    let aliases = [("champion", 1), ("a", 4), ("b", 2), ("c", 3)];
    let catalog = publish(settings, &versions, &aliases);
    let resolved = resolve(&catalog, "m");
    assert_eq!(resolved.alias.as_deref(), Some("b"));
    assert_eq!(shares(&traffic(&catalog)), ["a:4 20", "b:2 40", "c:3 40"]);
}

#[test]
fn shadows_need_not_agree_and_their_permits_outlive_a_publish() {
    let settings = "shadow = ['candidate', 'gone']\nshadow_concurrency = 1";
    let aliases = [("champion", 1), ("candidate", 2)];
    let catalog = publish(settings, &[(1, 0), (2, 7)], &aliases);
    let traffic = resolve(&catalog, "m").traffic.unwrap();
    assert_eq!(shares(&traffic), ["champion:1 1"]);
    let shadows: Vec<u64> = traffic
        .shadows()
        .iter()
        .map(|s| s.version.version.0)
        .collect();
    assert_eq!(shadows, [2]);
    assert_eq!(left_out(&traffic), ["traffic_alias_not_found"]);
    let permit = Arc::clone(traffic.shadow_permits())
        .try_acquire_owned()
        .unwrap();
    publish_again(&catalog, &[(1, 0), (2, 7)], &aliases);
    assert!(
        self::traffic(&catalog)
            .shadow_permits()
            .try_acquire()
            .is_err()
    );
    drop(permit);
    assert!(
        self::traffic(&catalog)
            .shadow_permits()
            .try_acquire()
            .is_ok()
    );
}
