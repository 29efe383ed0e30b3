//! What Feast's settings come to.

use std::time::Duration;

use redis::ConnectionAddr;

use super::*;
use crate::features::repo::Problem;

/// Reads `online_store` of a feature_store.yaml; with the notes.
fn read(yaml: &str) -> Result<(Config, Vec<String>), String> {
    let mut notes = Vec::new();
    match Config::read(serde_yaml_ng::from_str(yaml).unwrap(), &mut notes) {
        Ok(config) => Ok((config, notes)),
        Err(Problem::Invalid(message) | Problem::Unsupported(message)) => Err(message),
        Err(Problem::Setting(error)) => Err(error.to_string()),
    }
}

/// With the master's and the sentinels' access.
fn sentinel(options: &str) -> (Config, options::Access) {
    let yaml =
        format!("redis_type: redis_sentinel\nconnection_string: 's1:26379,s2:26380,{options}'");
    let (config, _) = read(&yaml).unwrap();
    let Deployment::Sentinel(sentinels) = &config.deployment else {
        panic!("{config:?}")
    };
    let access = sentinels.access.clone();
    (config, access)
}

#[test]
fn connection_strings_read_as_in_feast() {
    for (text, store) in [
        ("localhost:6379", "redis at localhost:6379"),
        ("10.0.0.1:7000,db=3", "redis at 10.0.0.1:7000/3"),
        (
            "db=0,redis.example:6380,password=p=q,username=u",
            "redis at redis.example:6380",
        ),
        ("a:1,ssl=false,socket_timeout=3", "redis at a:1"),
        ("password=x", "redis at localhost:6379"),
    ] {
        assert_eq!(config(text).describe(), store, "{text}");
    }
    let info = info(&config("a:1,username=u,password=12=3,db=4"));
    let login = info.redis_settings();
    assert_eq!(
        (login.username(), login.password(), login.db()),
        (Some("u"), Some("12=3"), 4)
    );
}

#[test]
fn values_are_json_where_they_parse_as_json() {
    // What redis-py 7.4.1 sent as a password for each.
    for (text, wanted) in [
        ("12", Some("12")),
        ("0123", Some("0123")),
        (
            "123456789012345678901234567890",
            Some("123456789012345678901234567890"),
        ),
        ("1.50", Some("1.5")),
        ("1e5", Some("100000.0")),
        ("\"p w\"", Some("p w")),
        ("\"true\"", Some("true")),
        ("p w", Some("p w")),
        ("null", None),
    ] {
        let info = info(&config(&format!("a:1,password={text}")));
        assert_eq!(info.redis_settings().password(), wanted, "{text}");
    }
}

#[test]
fn what_a_connection_string_cannot_say_is_refused() {
    for (text, part) in [
        ("localhost", "must begin with `host:port`"),
        ("", "must begin with `host:port`"),
        ("::1:6379", "must begin with `host:port`"),
        ("a:x", "must begin with `host:port`"),
        ("a:1,db=x", "`db` of"),
        ("a:1,db=-1", "`db` of"),
        ("a:1,password=true", "`password` of"),
        ("a:1,password={\"secret\":1}", "`password` of"),
        ("a:1,socket_timeout=soon", "`socket_timeout` of"),
        ("a:1,ssl=true,ssl_cert_reqs=maybe", "`ssl_cert_reqs` of"),
        (
            "a:1,ssl=true,ssl_ca_certs=/nowhere/ca.pem",
            "/nowhere/ca.pem",
        ),
        ("a:1,ssl=true,ssl_keyfile=k", "needs `ssl_certfile`"),
        ("a:1,ssl=true,ssl_password=x", "`ssl_password` of"),
        ("a:1,ssl=true,ssl_ca_path=/etc", "`ssl_ca_path` of"),
    ] {
        let yaml = format!("connection_string: '{text}'");
        let Err(message) = read(&yaml) else {
            panic!("{text} is no connection string for us")
        };
        assert!(message.contains(part), "{text}: {message}");
        for secret in ["localhost,", "secret", "maybe", "soon"] {
            assert!(!message.contains(secret), "no value is echoed: {message}");
        }
    }
}

#[test]
fn each_deployment_has_its_rules() {
    let yaml =
        "redis_type: redis_cluster\nconnection_string: a:1,b:2,skip_full_coverage_check=true";
    let (config, notes) = read(yaml).unwrap();
    assert_eq!(config.describe(), "redis cluster at a:1, b:2");
    assert_eq!(notes.len(), 1, "{notes:?}");
    let (config, notes) = read("connection_string: a:1,b:2\nclient: glide\nnovelty: 1").unwrap();
    assert_eq!(config.describe(), "redis at a:1");
    assert_eq!(notes.len(), 3, "{notes:?}");
    let (config, _) = sentinel("db=2");
    assert_eq!(
        config.describe(),
        "redis `mymaster`/2 of sentinel at s1:26379, s2:26380"
    );
    for (yaml, part) in [
        ("redis_type: valkey", "must be `redis`, `redis_cluster`"),
        (
            "redis_type: redis_cluster\nconnection_string: a:1,db=1",
            "must be 0",
        ),
        (
            "redis_type: redis_sentinel\nclient: glide",
            "cannot be with",
        ),
        ("client: jedis", "must be `redis` or `glide`"),
    ] {
        let message = read(yaml).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn of_the_masters_options_sentinels_get_the_time_outs_only() {
    let (config, sentinels) = sentinel("password=p,db=1,ssl=true,socket_timeout=0.5");
    let address = config::Address {
        host: "h".to_owned(),
        port: 1,
    };
    let (master, own) = (
        config.access.info(&address).unwrap(),
        sentinels.info(&address).unwrap(),
    );
    assert!(matches!(master.addr(), ConnectionAddr::TcpTls { .. }));
    assert_eq!(master.redis_settings().password(), Some("p"));
    assert!(matches!(own.addr(), ConnectionAddr::Tcp(..)));
    assert_eq!(own.redis_settings().password(), None);
    assert_eq!(own.redis_settings().db(), 0);
    assert_eq!(sentinels.connect_timeout, Duration::from_millis(500));

    let (_, sentinels) = sentinel("socket_timeout=0.5,sentinel_kwargs={\"password\":123}");
    let own = sentinels.info(&address).unwrap();
    assert_eq!(own.redis_settings().password(), Some("123"));
    assert_eq!(sentinels.connect_timeout, Duration::from_secs(2));
}

#[test]
fn tls_is_on_where_python_takes_the_option_for_true() {
    let is_tls = |value: &str| {
        let info = info(&config(&format!("a:1,ssl={value}")));
        matches!(info.addr(), ConnectionAddr::TcpTls { .. })
    };
    for value in ["true", "1", "True", "\"no\"", "False", "[0]"] {
        assert!(is_tls(value), "{value}");
    }
    for value in ["false", "0", "null", "", "\"\"", "0.0", "{}"] {
        assert!(!is_tls(value), "{value}");
    }
    let (_, notes) = read("connection_string: 'a:1,ssl=False'").unwrap();
    assert!(notes[0].contains("counts as true"), "{notes:?}");
}
