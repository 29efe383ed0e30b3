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

fn registry_place(repo: &Repo) -> String {
    let source = registry::source::RegistrySource::open(&repo.registry, &repo.project);
    source.unwrap().describe().to_owned()
}

fn message(yaml: &str) -> String {
    parse(yaml).unwrap_err().to_string()
}

const MINIMAL: &str = "project: p\nregistry: data/registry.db\n";

#[test]
fn what_is_not_said_is_as_in_feast() {
    let repo = parse(MINIMAL).unwrap();
    assert_eq!(repo.project, "p");
    assert_eq!(registry_place(&repo), "/repo/data/registry.db");
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
    assert_eq!(
        registry_place(&repo),
        fixture("repo/registry.db").display().to_string()
    );
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
    assert_eq!(registry_place(&repo), "/r/registry.db");
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
            "project: p\nregistry: hdfs://b/r",
            "`registry` at hdfs:// is not supported",
        ),
        (
            "project: p\nregistry: s3://${BUCKET}/r",
            "`registry` needs the environment variable `BUCKET`, which is not set",
        ),
        (
            "project: p\nregistry: ${R}",
            "`registry` needs the environment variable `R`, which is not set",
        ),
        (
            "project: p\nregistry: {registry_type: snowflake.registry, path: x}",
            "`registry.registry_type: snowflake.registry` is not",
        ),
        (
            "project: p\nregistry: {registry_type: sql, path: x}",
            "`registry.path` must be a database URL",
        ),
        (
            "project: p\nregistry: {registry_type: sql, path: 'sqlite://'}",
            "`registry.path` is a database in memory",
        ),
        (
            "project: p\nregistry: {registry_type: sql, path: 'mysql+pymysql://u:p@h/d'}",
            "`registry.path` at mysql:// is not supported",
        ),
        (
            "project: p\nregistry: {registry_type: sql, path: 'postgresql://u:${PG}@h/d'}",
            "`registry.path` needs the environment variable `PG`, which is not set",
        ),
        (
            "project: p\nregistry: {registry_type: remote, path: 'http://h:6570'}",
            "`registry.path` must be the registry server's `host:port`",
        ),
        (
            "project: p\nregistry: {registry_type: remote, path: 'h:6570', is_tls: true, client_key: k}",
            "`registry.client_cert` and `registry.client_key` go together",
        ),
        (
            "project: p\nregistry: {path: r, cache_mode: never}",
            "`registry.cache_mode` is `never`, and must be `sync` or `thread`",
        ),
        (
            "project: p\nregistry: {path: r, cache_ttl_seconds: soon}",
            "`registry.cache_ttl_seconds` must be a whole number",
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

#[tokio::test]
async fn a_registry_may_lie_in_a_store_a_database_or_behind_a_server() {
    for (registry, place) in [
        (
            "s3://bucket/feast/registry.db",
            "s3://bucket/feast/registry.db",
        ),
        (
            "{path: 'gs://bucket/registry.db'}",
            "gs://bucket/registry.db",
        ),
        (
            "{registry_type: sql, path: 'sqlite:///data/registry.db', read_path: 'sqlite:////other.db'}",
            "sqlite:////repo/data/registry.db",
        ),
        (
            "{registry_type: sql, path: 'postgresql+psycopg2://u:secret@db/feast', cache_ttl_seconds: 60, \
             sqlalchemy_config_kwargs: {echo: false, pool_pre_ping: true}, schema_mode: skip}",
            "postgresql://db/feast",
        ),
        (
            "{registry_type: remote, path: 'feast:6570'}",
            "http://feast:6570",
        ),
    ] {
        if registry.contains("gs:") && cfg!(not(feature = "object-store")) {
            continue;
        }
        let repo = parse(&format!("project: p\nregistry: {registry}\n")).unwrap();
        assert!(repo.notes.is_empty(), "{:?}", repo.notes);
        assert!(
            !format!("{repo:?}").contains("secret"),
            "no secret is printed"
        );
        let source = registry::source::RegistrySource::open(&repo.registry, "p");
        match source {
            Ok(source) => assert_eq!(source.describe(), place),
            Err(error) => assert_eq!(error.code(), "feature_registry_not_built", "{error}"),
        }
    }
}

#[test]
fn feasts_own_variables_name_the_settings_of_the_default_repository() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.yaml");
    fs_err::write(&other, "project: from_path\nregistry: r\n").unwrap();
    let encoded = "cHJvamVjdDogZnJvbV92YXJpYWJsZQpyZWdpc3RyeTogcgo=";
    let load = |yaml: Option<&str>, path: Option<&Path>| {
        let variable = |name: &str| match name {
            YAML => yaml.map(str::to_owned),
            YAML_PATH => path.map(|path| path.display().to_string()),
            _ => None,
        };
        assert_eq!(Repo::is_in(&variable), yaml.or(path.map(|_| "")).is_some());
        Repo::load_default(directory.path(), Path::new("feature_store.yaml"), &variable)
    };
    let repo = load(Some(encoded), Some(&other)).unwrap();
    assert_eq!(repo.project, "from_variable");
    assert_eq!(
        registry_place(&repo),
        directory.path().join("r").display().to_string()
    );
    assert_eq!(load(None, Some(&other)).unwrap().project, "from_path");
    assert!(matches!(load(None, None), Err(Error::Missing { .. })));
    let error = load(Some("%"), None).unwrap_err().to_string();
    assert_eq!(
        error,
        "in FEATURE_STORE_YAML_BASE64, the value is not text in Base64"
    );
}
