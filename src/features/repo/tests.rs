//! Settings as users write them, and mistakes in them.

use super::super::testing::{TestRepo, fixture};
use super::*;

fn parse(yaml: &str) -> Result<Repo, Error> {
    parse_with(yaml, &|_| None)
}

fn parse_with(yaml: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Repo, Error> {
    Repo::parse(
        yaml,
        Path::new("/repo"),
        Path::new("/repo/feature_store.yaml"),
        environment,
    )
}

fn message(yaml: &str) -> String {
    parse(yaml).unwrap_err().to_string()
}

const MINIMAL: &str = "project: p\nregistry: data/registry.db\n";

#[test]
fn what_is_not_said_is_as_in_feast() {
    let repo = parse(MINIMAL).unwrap();
    assert_eq!(repo.project, "p");
    assert_eq!(repo.registry.path, Path::new("/repo/data/registry.db"));
    assert_eq!(repo.key_version, KeyVersion::V3);
    assert!(repo.notes.is_empty(), "{:?}", repo.notes);
    let online::Config::Sqlite(sqlite) = repo.online_store else {
        panic!("the default online store is SQLite");
    };
    assert!(
        format!("{sqlite:?}").contains("\"/repo/data/online.db\""),
        "{sqlite:?}"
    );
}

#[test]
fn the_recorded_settings_of_a_redis_repository_are_read() {
    let environment = |name: &str| (name == "RIDE_REDIS").then(|| "10.0.0.1:6380,db=2".to_owned());
    let repo = Repo::load(
        &fixture("repo"),
        Path::new("feature_store.yaml"),
        &environment,
    )
    .unwrap();
    assert_eq!(repo.project, "ride_ops");
    assert_eq!(repo.registry.path, fixture("repo/registry.db"));
    assert!(repo.notes.is_empty(), "{:?}", repo.notes);
    assert_eq!(
        repo.online_store.connect("p").describe(),
        "redis at 10.0.0.1:6380/2"
    );
}

#[test]
fn the_whole_text_is_expanded_once_before_it_is_parsed() {
    let environment = |name: &str| match name {
        "A" => Some("x$B".to_owned()),
        "B" => Some("never".to_owned()),
        "LINES" => Some("one\n two".to_owned()),
        _ => None,
    };
    for (text, wanted) in [
        ("$A", "x$B"),
        ("${A}1", "x$B1"),
        ("$A1", "$A1"),
        ("$UNSET ${UNSET}", "$UNSET ${UNSET}"),
        ("$ $$A ${A", "$ $x$B ${A"),
        ("- $LINES", "- one\n two"),
        ("é$A$", "éx$B$"),
    ] {
        assert_eq!(expand(text, &environment), wanted);
    }
}

#[test]
fn settings_of_other_products_are_noted_and_ours_obeyed() {
    let repo = parse(
        "project: p
provider: local
registry:
  path: file:///r/registry.db
  registry_type: file
  cache_ttl_seconds: 5
  enable_online_feature_view_versioning: true
  serve_features_while_materializing: true
  extra: 1
online_store:
  type: redis
  key_ttl_seconds: 60
  skip_dedup: true
  connection_string: \"localhost:6379,password=\\\"a b\\\",client_name=3\"
  unheard_of: 1
offline_store:
  type: postgres
  password: secret
entity_key_serialization_version: 2
surprise: {}
",
    )
    .unwrap();
    assert_eq!(repo.registry.path, Path::new("/r/registry.db"));
    assert!(repo.registry.versioned_views && repo.registry.serve_while_materializing);
    assert_eq!(repo.key_version, KeyVersion::V2);
    let ours = |name: &str| format!("feature_store.yaml: `{name}` has no effect here");
    assert_eq!(
        repo.notes,
        [
            ours("registry.extra"),
            "feature_store.yaml: `client_name` of `online_store.connection_string` has no effect here"
                .to_owned(),
            ours("online_store.unheard_of"),
            ours("surprise"),
        ]
    );
    assert!(!format!("{repo:?}").contains("a b"), "no secret is printed");
}

#[test]
fn a_mistake_is_named_by_its_place() {
    for (yaml, part) in [
        ("registry: r", "`project` is missing"),
        ("project: p", "`registry` is missing"),
        ("project: _p\nregistry: r", "project `_p` must be letters"),
        (
            "project: a-b\nregistry: r",
            "project `a-b` has a `-`, which the SQLite",
        ),
        (
            "project: [p]\nregistry: r",
            "`project` must be text, and is a list",
        ),
        ("project: p\nregistry: {}", "`registry.path` is missing"),
        (
            "project: p\nregistry: 3",
            "`registry` must be a path or a mapping, and is a number",
        ),
        (
            "project: p\nregistry: s3://b/r",
            "`registry` at s3:// is not supported",
        ),
        (
            "project: p\nregistry: ${R}",
            "`registry` needs the environment variable `R`, which is not set",
        ),
        (
            "project: p\nregistry: {registry_type: sql, path: x}",
            "`registry.registry_type: sql` is not",
        ),
        (
            "project: p\nregistry: r\nonline_store: null",
            "`online_store` is null",
        ),
        (
            "project: p\nregistry: r\nonline_store: dynamodb",
            "`online_store.type: dynamodb` is not",
        ),
        (
            "project: p\nregistry: r\nonline_store: 1",
            "`online_store` must be a name or a mapping",
        ),
        (
            "project: p\nregistry: r\nentity_key_serialization_version: 1",
            "version: 1` is not supported",
        ),
        (
            "project: p\nregistry: r\nentity_key_serialization_version: x",
            "must be a whole number, and is text",
        ),
        (
            "project: p\nregistry: r\nonline_store: {type: redis, redis_type: valkey}",
            "`redis`, `redis_cluster` or `redis_sentinel`, not `valkey`",
        ),
        (
            "project: p\nregistry: r\nonline_store: {type: redis, skip_dedup: 1}",
            "must be true or false, and is a number",
        ),
        (
            "project: p\nregistry: r\nonline_store: {type: redis, connection_string: \"${X},db=1\"}",
            "environment variable `X`",
        ),
        ("[1, 2]", "`(top level)` must be a mapping, and is a list"),
        (": : :", "is not valid YAML"),
    ] {
        let message = message(yaml);
        assert!(message.contains(part), "{message}");
        assert!(message.contains("/repo/feature_store.yaml"), "{message}");
    }
}

#[test]
fn a_directory_without_settings_is_not_a_repository() {
    let error = Repo::load(&fixture("repo"), Path::new("none.yaml"), &|_| None).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.hint().unwrap().contains("features.repo"));
    let repo = TestRepo::ride_ops();
    let config = repo.config();
    assert!(Repo::load(&config.repo, &config.feature_store_yaml, &|_| None).is_ok());
}
