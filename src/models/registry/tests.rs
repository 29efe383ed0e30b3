//! Which registry a table or an address means.

use std::path::PathBuf;

use super::*;
use crate::error::Failure;

fn nothing(_: &str) -> Option<String> {
    None
}

fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

#[test]
fn the_table_name_chooses_the_backend() {
    let Config::Local(local) = config("[local]\npath = 'm'") else {
        panic!("another backend");
    };
    assert_eq!(local.path, PathBuf::from("m"));
    for (text, location) in [
        ("[local]\npath = 'm'", "m"),
        (
            "[mlflow]\nuri = 'http://registry:5000/prefix/'",
            "http://registry:5000/prefix",
        ),
        ("[mlruns]", "MLflow file store mlruns"),
        ("[mlflow_sqlite]", "MLflow database mlflow.db"),
        (
            "[mlflow]\nuri = 'sqlite:////data/mlflow.db'",
            "MLflow database /data/mlflow.db",
        ),
        (
            "[mlflow]\nuri = 'file:///data/mlruns'",
            "MLflow file store /data/mlruns",
        ),
    ] {
        let registry = config(text).connect(&nothing).unwrap();
        assert_eq!(registry.location(), location, "{text}");
    }
    let error = toml::from_str::<Config>("[s3]").unwrap_err();
    assert!(
        error.to_string().contains("unknown variant `s3`"),
        "{error}"
    );
}

#[test]
fn mlflows_variables_name_the_registry_where_nothing_else_does() {
    let tracking = |name: &str| (name == "MLFLOW_TRACKING_URI").then(|| "http://t:1".to_owned());
    let both = |name: &str| match name {
        "MLFLOW_REGISTRY_URI" => Some("http://r:1".to_owned()),
        name => tracking(name),
    };
    let of = |text: &str, environment: &dyn Fn(&str) -> Option<String>| {
        config(text).connect(environment).unwrap().location()
    };
    assert_eq!(of("[mlflow]", &tracking), "http://t:1");
    assert_eq!(of("[mlflow]", &both), "http://r:1");
    assert_eq!(of("[mlflow]\nuri = 'http://c:1'", &both), "http://c:1");
    assert_eq!(of("[local]\npath = 'elsewhere'", &both), "elsewhere");
    let error = config("[mlflow]").connect(&nothing).err().unwrap();
    assert!(error.to_string().contains("MLFLOW_TRACKING_URI"), "{error}");
}

#[test]
fn an_address_that_cannot_be_read_does_not_show_its_password() {
    for uri in [
        "postgresql://user:hush@host/db",
        "databricks",
        "http://user:hush@host:port/",
        "http://user:hush@/",
    ] {
        let text = format!("[mlflow]\nuri = '{uri}'");
        let error = config(&text).connect(&nothing).err().unwrap();
        assert_eq!(error.code(), "model_registry_settings", "{uri}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    let registry = config("[mlflow]\nuri = 'http://user:hush@host:1/p?token=hush#hush'");
    let location = registry.connect(&nothing).unwrap().location();
    assert_eq!(location, "http://host:1/p");
}

#[test]
fn a_poll_of_zero_is_none() {
    let of = |text: &str| config(text).poll();
    assert_eq!(of("[local]"), Some(Duration::from_secs(10)));
    assert_eq!(of("[mlflow]\npoll = '2s'"), Some(Duration::from_secs(2)));
    assert_eq!(of("[mlruns]\npoll = '0s'"), None);
    assert_eq!(of("[mlflow_sqlite]\npoll = '0s'"), None);
}
