//! Loading, printing and the reference, on a tree with every kind of option.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::error::{ErrorClass, Failure};
use crate::types::byte_size::ByteSize;
use crate::types::cell::Cell;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Everything {
    /// The HTTP server.
    http: Http,
    serving: Serving,
    registry: Registry,
    limits: Limits,
    /// One table for each model.
    models: BTreeMap<String, Model>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Http {
    /// Where the server listens.
    #[schemars(extend("format" = "socket-address"))]
    listen: SocketAddr,
    /// Largest body | in bytes.
    max_body: ByteSize,
    max_rows: NonZeroUsize,
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "duration"))]
    request_timeout: Duration,
    compress: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".parse().unwrap(),
            max_body: ByteSize::from_mebibytes(16),
            max_rows: NonZeroUsize::new(100_000).unwrap(),
            request_timeout: Duration::from_secs(10),
            compress: false,
        }
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Serving {
    /// The alias that is served.
    alias: String,
    versions: Versions,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            alias: "champion".into(),
            versions: Versions::Listed(Vec::new()),
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Versions {
    Word(All),
    Listed(Vec<String>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum All {
    All,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    mlflow: Option<Mlflow>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mlflow {
    /// The tracking server.
    uri: String,
    #[serde(with = "humantime_serde", default = "ten_seconds")]
    #[schemars(with = "String", extend("format" = "duration"))]
    poll: Duration,
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    token: Option<String>,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawLimits")]
struct Limits {
    lowest: u8,
    highest: u8,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    lowest: u8,
    highest: u8,
}

impl TryFrom<RawLimits> for Limits {
    type Error = String;

    fn try_from(RawLimits { lowest, highest }: RawLimits) -> Result<Self, String> {
        if highest < lowest {
            return Err(format!("`highest` is {highest}, below `lowest`, {lowest}"));
        }
        Ok(Self { lowest, highest })
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Model {
    features: Option<String>,
    /// What a missing feature becomes.
    on_missing: OnMissing,
    #[serde(with = "humantime_serde")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    max_age: Option<Duration>,
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    defaults: BTreeMap<String, Cell>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnMissing {
    /// The model gets null.
    #[default]
    Null,
    /// The request fails.
    Error,
}

fn fixture(name: &str) -> String {
    format!("tests/fixtures/config/{name}.toml")
}

fn load_from(
    file: Option<&str>,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> Result<Loaded<Everything>, Error> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    load(&Sources {
        file: file.map(Path::new),
        directory: Path::new("tests/fixtures"),
        environment: &variables.collect(),
        flags: &flags,
    })
}

/// What loading a broken fixture says, after the name of the file.
fn message_of(name: &str) -> String {
    let path = fixture(name);
    let error = load_from(Some(&path), &[], &[]).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidInput);
    assert_eq!(error.code(), "config_invalid");
    error.to_string().replace(&format!("{path}:"), "")
}

#[test]
fn nothing_given_is_the_default() {
    let loaded = load_from(None, &[("PATH", "/bin")], &[]).unwrap();
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.config.http.listen.port(), 8080);
    assert!(loaded.config.registry.mlflow.is_none());
}

#[test]
fn every_kind_of_value_is_read_from_a_file() {
    let loaded = load_from(Some(&fixture("valid")), &[], &[]).unwrap();
    let config = loaded.config;
    assert_eq!(loaded.file.unwrap(), Path::new(&fixture("valid")));
    assert_eq!(config.http.listen.port(), 9000);
    assert_eq!(config.http.max_body, ByteSize::from_mebibytes(1));
    let versions = Versions::Listed(vec!["1".into(), "2".into()]);
    assert_eq!(config.serving.versions, versions);
    assert_eq!(config.registry.mlflow.unwrap().poll, ten_seconds());
    let model = &config.models["Driver-Ranking"];
    assert_eq!(model.max_age, Some(Duration::from_secs(6 * 3600)));
    assert_eq!(model.defaults["conv_rate"], Cell::Float(0.5));
    assert_eq!(model.defaults["trips"], Cell::Int(3));
    assert_eq!(model.defaults["city"], Cell::Text("Oslo".into()));
}

#[test]
fn the_default_file_is_taken_where_it_is_there() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join(DEFAULT_FILE);
    fs_err::write(&path, "[serving]\nalias = 'blue'").unwrap();
    let loaded: Loaded<Everything> = load(&Sources {
        file: None,
        directory: directory.path(),
        environment: &Environment::default(),
        flags: &[],
    })
    .unwrap();
    assert_eq!(loaded.config.serving.alias, "blue");
    assert_eq!(loaded.file, Some(path));
}

#[test]
fn a_named_file_must_be_there() {
    let error = load_from(Some("no/such.toml"), &[], &[]).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidInput);
    assert_eq!(error.code(), "config_unreadable");
    assert!(error.to_string().contains("no/such.toml"), "{error}");
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let port = |variables: &[(&str, &str)], flags: &[&str]| {
        let loaded = load_from(Some(&fixture("valid")), variables, flags).unwrap();
        loaded.config.http.listen.port()
    };
    let variable = ("TERRARIUM__HTTP__LISTEN", "127.0.0.1:9001");
    let flag = "http.listen=127.0.0.1:9002";
    assert_eq!(port(&[], &[]), 9000);
    assert_eq!(port(&[variable], &[]), 9001);
    assert_eq!(port(&[variable], &[flag]), 9002);
    assert_eq!(port(&[], &[flag, "http.listen=127.0.0.1:9003"]), 9003);
}

#[test]
fn text_is_read_as_what_the_option_takes() {
    let variables = [
        ("TERRARIUM__HTTP__MAX_ROWS", "5"),
        ("TERRARIUM__HTTP__COMPRESS", "true"),
        ("TERRARIUM__HTTP__REQUEST_TIMEOUT", "250ms"),
        ("TERRARIUM__SERVING__ALIAS", "123"),
        ("TERRARIUM__SERVING__VERSIONS", "all"),
        ("TERRARIUM__MODELS__DRIVER_RANKING__MAX_AGE", "6h"),
        (
            "TERRARIUM__MODELS__DRIVER_RANKING__DEFAULTS",
            "{a = 1, b = 'x'}",
        ),
        ("TERRARIUM__MODELS__DRIVER_RANKING__DEFAULTS__C", "0.5"),
        (
            "TERRARIUM__MODELS__DRIVER_RANKING__DEFAULTS__D",
            "some text",
        ),
    ];
    let config = load_from(None, &variables, &[]).unwrap().config;
    assert_eq!(config.http.max_rows.get(), 5);
    assert!(config.http.compress);
    assert_eq!(config.http.request_timeout, Duration::from_millis(250));
    assert_eq!(config.serving.alias, "123");
    assert_eq!(config.serving.versions, Versions::Word(All::All));
    let model = &config.models["driver_ranking"];
    assert_eq!(model.max_age, Some(Duration::from_secs(6 * 3600)));
    assert_eq!(model.defaults["a"], Cell::Int(1));
    assert_eq!(model.defaults["b"], Cell::Text("x".into()));
    assert_eq!(model.defaults["c"], Cell::Float(0.5));
    assert_eq!(model.defaults["d"], Cell::Text("some text".into()));
}

#[test]
fn a_variable_means_the_entry_of_the_file_that_it_can_spell() {
    let variables = [("TERRARIUM__MODELS__DRIVER_RANKING__MAX_AGE", "1h")];
    let config = load_from(Some(&fixture("valid")), &variables, &[])
        .unwrap()
        .config;
    assert_eq!(config.models.len(), 1);
    let model = &config.models["Driver-Ranking"];
    assert_eq!(model.max_age, Some(Duration::from_secs(3600)));
    assert_eq!(model.defaults.len(), 3);
}

#[test]
fn a_flag_can_quote_a_name() {
    let config = load_from(None, &[], &["models.\"a.b\".features=x"])
        .unwrap()
        .config;
    assert_eq!(config.models["a.b"].features.as_deref(), Some("x"));
}

#[test]
fn each_kind_of_mistake_in_a_file_has_its_message() {
    let expected = [
        (
            "unknown_option",
            "2:1: `http.lisen` is not an option; did you mean `http.listen`?",
        ),
        (
            "unknown_option_far",
            "2:1: `http.port` is not an option; `http` has `listen`, `max_body`, `max_rows`, `request_timeout` and `compress`",
        ),
        (
            "unknown_section",
            "1:2: `server` is not an option; the sections are `http`, `serving`, `registry`, `limits` and `models`",
        ),
        (
            "unknown_option_of_entry",
            "2:1: `models.driver_ranking.on_mising` is not an option; did you mean `models.driver_ranking.on_missing`?",
        ),
        (
            "wrong_type",
            "2:1: `http.max_rows` takes a whole number from 1, not `\"many\"`",
        ),
        (
            "wrong_text",
            "3:3: `http.request_timeout` takes a duration such as `\"10s\"`, not `\"10 parsecs\"`",
        ),
        (
            "out_of_range",
            "2:1: `http.max_rows` takes a whole number from 1, not `0`",
        ),
        (
            "unknown_word",
            "2:1: `models.m.on_missing` takes `null` or `error`, not `\"ignore\"`",
        ),
        (
            "wrong_choice",
            "2:1: `serving.versions` takes `all` or a list of strings, not `3`",
        ),
        (
            "table_for_value",
            "2:1: `http.listen` takes an address with port such as `\"127.0.0.1:8080\"`, not a table",
        ),
        ("value_for_table", "1:1: `http` takes a table, not `9000`"),
        ("missing_option", "2:1: `registry.mlflow.uri` must be set"),
        (
            "contradiction",
            "3:1: `limits`: `highest` is 2, below `lowest`, 3",
        ),
        ("syntax", "2:15: `listen`: invalid float, expected nothing"),
        (
            "syntax_twice",
            "the configuration has 2 problems\n  2:9: `listen`: string values must be quoted, expected literal string\n  4:12: `compress`: string values must be quoted, expected literal string",
        ),
        ("duplicate", "3:1: `max_rows`: duplicate key"),
        (
            "wrong_secret",
            "3:1: `registry.mlflow.token` takes a string, not what is given: (hidden)",
        ),
        (
            "several",
            "the configuration has 3 problems\n  2:1: `http.lisen` is not an option; did you mean `http.listen`?\n  3:1: `http.max_rows` takes a whole number from 1, not `-1`\n  6:1: `serving.alias` takes a string such as `\"champion\"`, not `3`",
        ),
    ];
    for (name, message) in expected {
        assert_eq!(message_of(name), message, "{name}");
    }
}

#[test]
fn every_problem_of_every_source_is_reported() {
    let variables = [
        ("TERRARIUM__HTTP__LISTEN", "nonsense"),
        ("TERRARIUM__HTTP__MAX_ROW", "1"),
        ("TERRARIUM__HTTP", "3"),
        ("TERRARIUM__HTTP__LISTEN__PORT", "3"),
        ("TERRARIUM__", "3"),
    ];
    let flags = ["http.compress=maybe", "http", "a b=1", "htp.listen=x"];
    let error = load_from(Some(&fixture("wrong_type")), &variables, &flags).unwrap_err();
    let expected = [
        "the configuration has 10 problems",
        "  tests/fixtures/config/wrong_type.toml:2:1: `http.max_rows` takes a whole number from 1, not `\"many\"`",
        "  TERRARIUM__: `\"\"` is not an option; the sections are `http`, `serving`, `registry`, `limits` and `models`",
        "  TERRARIUM__HTTP: `http` takes a table, not `\"3\"`",
        "  TERRARIUM__HTTP__LISTEN: `http.listen` takes an address with port such as `\"127.0.0.1:8080\"`, not `\"nonsense\"`: invalid socket address syntax",
        "  TERRARIUM__HTTP__LISTEN__PORT: `http.listen` takes an address with port such as `\"127.0.0.1:8080\"`, not a table",
        "  TERRARIUM__HTTP__MAX_ROW: `http.max_row` is not an option; did you mean `TERRARIUM__HTTP__MAX_ROWS`?",
        "  --set http.compress: `http.compress` takes `true` or `false`, not `\"maybe\"`",
        "  --set http: write `--set section.field=value`",
        "  --set a b: write `--set section.field=value`",
        "  --set htp: `htp` is not an option; did you mean `http`?",
    ];
    assert_eq!(error.to_string(), expected.join("\n"));
}

#[test]
fn other_variables_are_handed_out_and_not_checked() {
    let variables = [("TERRARIUM_REDIS", "redis://x"), ("HOME", "/root")];
    assert!(load_from(None, &variables, &[]).is_ok());
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment: Environment = owned.into_iter().collect();
    assert_eq!(environment.get("TERRARIUM_REDIS"), Some("redis://x"));
    assert_eq!(environment.get("MLFLOW_TRACKING_URI"), None);
}

#[test]
fn the_environment_of_the_process_can_be_read() {
    assert!(Environment::of_process().get("PATH").is_some());
}

const PRINTED: &str = r#"[http]
listen = "127.0.0.1:9001"  # TERRARIUM__HTTP__LISTEN
max_body = "1MiB"  # tests/fixtures/config/valid.toml
max_rows = 100000  # default
request_timeout = "10s"  # default
compress = true  # --set

[serving]
alias = "champion"  # default
versions = ["1", "2"]  # tests/fixtures/config/valid.toml

[registry.mlflow]
uri = "http://127.0.0.1:5000"  # tests/fixtures/config/valid.toml
poll = "10s"  # default
token = "(hidden)"  # tests/fixtures/config/valid.toml

[limits]
lowest = 0  # default
highest = 0  # default

[models.Driver-Ranking]
# features is not set
on_missing = "null"  # default
max_age = "6h"  # tests/fixtures/config/valid.toml

[models.Driver-Ranking.defaults]
city = "Oslo"  # tests/fixtures/config/valid.toml
conv_rate = 0.5  # tests/fixtures/config/valid.toml
trips = 3  # tests/fixtures/config/valid.toml
"#;

fn loaded_from_all_sources() -> Loaded<Everything> {
    let variables = [("TERRARIUM__HTTP__LISTEN", "127.0.0.1:9001")];
    load_from(Some(&fixture("valid")), &variables, &["http.compress=true"]).unwrap()
}

#[test]
fn what_is_in_effect_is_printed_with_its_origin_and_without_secrets() {
    assert_eq!(print::toml(&loaded_from_all_sources()), PRINTED);
}

#[test]
fn what_is_printed_loads_again_to_the_same() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("printed.toml");
    fs_err::write(&path, PRINTED).unwrap();
    let again = load_from(path.to_str(), &[], &[]).unwrap();
    assert_eq!(again.shown, loaded_from_all_sources().shown);
}

#[test]
fn the_json_form_has_one_entry_for_each_option() {
    let json = print::json(&loaded_from_all_sources());
    assert_eq!(json["http.listen"]["value"], "127.0.0.1:9001");
    assert_eq!(json["http.listen"]["origin"], "TERRARIUM__HTTP__LISTEN");
    assert_eq!(json["registry.mlflow.token"]["value"], "(hidden)");
    assert_eq!(
        json["models.Driver-Ranking.features"]["value"],
        serde_json::Value::Null
    );
    assert_eq!(json["models.Driver-Ranking.defaults.trips"]["value"], 3);
}

const REFERENCE: &str = r#"
## `[http]`

The HTTP server.

| option | takes | default | |
|---|---|---|---|
| `listen` | address with port | `"127.0.0.1:8080"` | Where the server listens. |
| `max_body` | number of bytes | `"16MiB"` | Largest body \| in bytes. |
| `max_rows` | whole number from 1 | `100000` |  |
| `request_timeout` | duration | `"10s"` |  |
| `compress` | `true` or `false` | `false` |  |

## `[serving]`

| option | takes | default | |
|---|---|---|---|
| `alias` | string | `"champion"` | The alias that is served. |
| `versions` | `all` or a list of strings | `[]` |  |

## `[registry.mlflow]`

| option | takes | default | |
|---|---|---|---|
| `uri` | string | must be set | The tracking server. |
| `poll` | duration | `"10s"` |  |
| `token` | string |  |  |

## `[limits]`

| option | takes | default | |
|---|---|---|---|
| `lowest` | whole number from 0 to 255 | `0` |  |
| `highest` | whole number from 0 to 255 | `0` |  |

## `[models]`

One table for each model.

## `[models.<name>]`

| option | takes | default | |
|---|---|---|---|
| `features` | string | not set |  |
| `on_missing` | `null` or `error` | `"null"` | What a missing feature becomes. `null`: The model gets null. `error`: The request fails. |
| `max_age` | duration | not set |  |

## `[models.<name>.defaults]`

| option | takes | default | |
|---|---|---|---|
| `<name>` | any value | not set |  |
"#;

#[test]
fn the_reference_lists_every_option_with_its_doc_comment() {
    assert_eq!(docs::tables_of::<Everything>(), REFERENCE);
}

/// A section's own default must be what its fields' defaults are: a file that sets one field gets the latter.
#[test]
fn a_section_that_is_given_in_part_has_the_same_defaults() {
    let empty = toml::from_str::<Config>(
        "[http]\n[features]\n[registry.local]\n[serving]\n[inference]\n[log]\n[audit.file]\n",
    )
    .unwrap();
    assert_eq!(empty, Config::default());
    let reference = docs::markdown();
    for option in [
        "[audit.file]",
        "`max_files`",
        "`refuse`: Predictions fail",
        "`filter`",
    ] {
        assert!(reference.contains(option), "no {option} in {reference}");
    }
}
