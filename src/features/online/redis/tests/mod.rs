//! The layout in Redis against dumps recorded from Feast; no server is needed. Those that need one are in `services`.

#[cfg(feature = "test-services")]
mod deployments;
#[cfg(feature = "test-services")]
mod servers;
#[cfg(feature = "test-services")]
mod services;
mod settings;

use std::collections::BTreeMap;

use redis::Value as Reply;
use serde_json::Value as Json;

use super::super::contract::view;
use super::super::{StoredRows, StoredValue};
use super::*;
use crate::features::codec;
use crate::features::key::{KeyLayout, KeyValue, KeyVersion};
use crate::features::registry::Registry;
use crate::features::testing::{bytes_of, fixture, hex, recorded, unhex};
use crate::types::timestamp::Timestamp;

fn config(text: &str) -> Config {
    match Config::parse("redis", text, None, &mut Vec::new()) {
        Ok(config) => config,
        Err(_) => panic!("{text} is a connection string"),
    }
}

/// How the node at hand is reached.
fn info(config: &Config) -> redis::ConnectionInfo {
    let address = match &config.deployment {
        Deployment::Single(address) => address.clone(),
        Deployment::Cluster(nodes) => nodes[0].clone(),
        Deployment::Sentinel(sentinels) => sentinels.nodes[0].clone(),
    };
    config.access.info(&address).unwrap()
}

/// The recorded hashes: key to field to value.
fn recorded_hashes(name: &str) -> BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>> {
    let of = |json: &Json, key: &str| unhex(json[key].as_str().unwrap());
    let mut hashes = BTreeMap::new();
    for hash in recorded(name)["keys"].as_array().unwrap() {
        let fields = hash["fields"].as_array().unwrap().iter();
        let fields = fields
            .map(|field| (of(field, "field_hex"), of(field, "value_hex")))
            .collect();
        hashes.insert(of(hash, "key_hex"), fields);
    }
    hashes
}

/// What Redis would reply to a group's `HMGET`.
fn reply(
    lookup: &RedisLookup,
    key: &[u8],
    hashes: &BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>,
) -> Reply {
    let command = lookup.command(0, key);
    let mut arguments = Vec::new();
    for argument in command.args_iter() {
        match argument {
            redis::Arg::Simple(bytes) => arguments.push(bytes.to_vec()),
            _ => panic!("HMGET has no cursor"),
        }
    }
    assert_eq!(arguments[0], b"HMGET");
    let hash = hashes.get(&arguments[1]);
    let field = |field: &Vec<u8>| match hash.and_then(|hash| hash.get(field)) {
        Some(value) => Reply::BulkString(value.clone()),
        None => Reply::Nil,
    };
    Reply::Array(arguments[2..].iter().map(field).collect())
}

fn lookup(views: Vec<StoredView>) -> RedisLookup {
    let store = connect(&config("nowhere:1"), "ride_ops");
    let groups = [KeyGroup { views }];
    RedisLookup::new(store.reads.clone(), &store.store, &store.project, &groups)
}

/// Reads every row of the SQLite dump, which holds the same materialization, from recorded hashes.
fn compare(dump: &str, version: KeyVersion, tables: &[&str]) -> usize {
    let hashes = recorded_hashes(dump);
    let mut n_values = 0;
    for (table, rows) in recorded("sqlite_dump.json").as_object().unwrap() {
        let name = table.strip_prefix("ride_ops_").unwrap();
        if !tables.is_empty() && !tables.contains(&name) {
            continue;
        }
        for json in rows["rows"].as_array().unwrap() {
            let feature = json["feature_name"].as_str().unwrap();
            let key = rekeyed(&bytes_of(&json["entity_key"]), version);
            let lookup = lookup(vec![view(name, &[feature])]);
            let mut answer = StoredRows::new();
            lookup
                .decode(0, &key, reply(&lookup, &key, &hashes), &mut answer)
                .unwrap();
            let stored = answer.pop().flatten().unwrap();
            let mut bytes = Vec::new();
            codec::encode(&stored.value, &mut bytes);
            let wanted = bytes_of(&json["value"]);
            if !matches!(feature, "m" | "ml") {
                assert_eq!(hex(&bytes), hex(&wanted), "{name}:{feature}");
            }
            assert_eq!(
                bytes.len(),
                wanted.len(),
                "{name}:{feature}, entries in any order"
            );
            assert_eq!(
                stored.event_timestamp.as_seconds(),
                json["event_ts"].as_i64().unwrap()
            );
            n_values += 1;
        }
    }
    n_values
}

/// A version 3 key as one of `version`: version 2 lacks the count and the lengths of names.
fn rekeyed(key: &[u8], version: KeyVersion) -> Vec<u8> {
    if version == KeyVersion::V3 {
        return key.to_vec();
    }
    let number = |at: usize| u32::from_le_bytes(key[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 4;
    let mut shorter = Vec::new();
    for _ in 0..number(0) {
        let length = number(at + 4);
        shorter.extend_from_slice(&key[at..at + 4]);
        shorter.extend_from_slice(&key[at + 8..at + 8 + length]);
        at += 8 + length;
    }
    shorter.extend_from_slice(&key[at..]);
    shorter
}

#[test]
fn every_recorded_hash_of_version_3_reads_like_the_sqlite_store() {
    assert!(compare("redis_v3.json", KeyVersion::V3, &[]) > 100);
}

#[test]
fn every_recorded_hash_of_version_2_reads_like_the_sqlite_store() {
    let recorded = recorded("redis_v2.json");
    let views = recorded["views"].as_array().unwrap().iter();
    let views: Vec<&str> = views.map(|view| view.as_str().unwrap()).collect();
    assert!(compare("redis_v2.json", KeyVersion::V2, &views) > 10);
}

#[test]
fn every_recorded_key_is_the_one_that_we_build() {
    for (dump, version) in [
        ("redis_v3.json", KeyVersion::V3),
        ("redis_v2.json", KeyVersion::V2),
    ] {
        for hash in recorded(dump)["keys"].as_array().unwrap() {
            let Some(decoded) = hash["decoded_key"].as_object() else {
                continue;
            };
            let names: Vec<&str> = decoded["join_keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_str().unwrap())
                .collect();
            let values: Vec<KeyValue> = decoded["values"]
                .as_array()
                .unwrap()
                .iter()
                .map(key_value)
                .collect();
            let mut key = Vec::new();
            KeyLayout::new(version, &names).encode(|i| &values[i], &mut key);
            key.extend_from_slice(decoded["project"].as_str().unwrap().as_bytes());
            assert_eq!(hex(&key), hash["key_hex"]);
        }
    }
}

fn key_value(json: &Json) -> KeyValue {
    let (field, value) = json.as_object().unwrap().iter().next().unwrap();
    match field.as_str() {
        "int64_val" => KeyValue::Int64(value.as_i64().unwrap()),
        "int32_val" => KeyValue::Int32(value.as_i64().unwrap().try_into().unwrap()),
        "unix_timestamp_val" => KeyValue::UnixTimestamp(value.as_i64().unwrap()),
        "bytes_val" => KeyValue::Bytes(bytes_of(value)),
        _ => KeyValue::String(value.as_str().unwrap().to_owned()),
    }
}

#[test]
fn every_field_name_of_the_registry_is_in_the_recorded_hashes() {
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let hashes = recorded_hashes("redis_v3.json");
    let fields: Vec<&Vec<u8>> = hashes.values().flat_map(BTreeMap::keys).collect();
    for view in registry.feature_views.iter().filter(|view| view.online) {
        for feature in &view.features {
            let field = feature_field(&view.name, &feature.name).to_vec();
            assert!(fields.contains(&&field), "{}:{}", view.name, feature.name);
        }
        assert!(
            fields.contains(&&timestamp_field(&view.name)),
            "{}",
            view.name
        );
    }
}

#[test]
fn without_a_timestamp_nothing_is_found_and_the_epoch_is_one() {
    let lookup = lookup(vec![view("v", &["a", "b"]), view("w", &["a"])]);
    let bytes = |hex: &str| Reply::BulkString(unhex(hex));
    let replies = vec![
        bytes("2001"),
        Reply::Nil,
        bytes("2002"),
        Reply::Nil,
        bytes(""),
    ];
    let mut answer = StoredRows::new();
    lookup
        .decode(0, b"key", Reply::Array(replies), &mut answer)
        .unwrap();
    let stored = StoredValue {
        value: crate::types::value::Value::Int64(2),
        event_timestamp: Timestamp::EPOCH,
    };
    assert_eq!(answer, [None, None, Some(stored)]);
}

#[test]
fn a_reply_of_another_shape_is_refused() {
    let lookup = lookup(vec![view("v", &["a"])]);
    for reply in [
        Reply::Nil,
        Reply::Array(vec![Reply::Nil]),
        Reply::Array(vec![Reply::Int(1), Reply::BulkString(vec![])]),
        Reply::Array(vec![Reply::Nil, Reply::Int(1)]),
    ] {
        let error = lookup
            .decode(0, b"key", reply, &mut StoredRows::new())
            .unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
    let replies = vec![Reply::BulkString(unhex("12ff")), Reply::BulkString(vec![])];
    let error = lookup
        .decode(0, b"key", Reply::Array(replies), &mut StoredRows::new())
        .unwrap_err();
    assert!(error.to_string().contains("`v:a`"), "{error}");
}

#[tokio::test]
async fn a_dead_redis_is_dialled_again_only_after_a_pause() {
    // A port that nobody listens on, because its listener is closed again.
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let store = connect(&config(&format!("127.0.0.1:{port}")), "p");
    let started = std::time::Instant::now();
    for _ in 0..200 {
        let error = store
            .ping(super::super::contract::soon())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(!error.to_string().contains("refused: "), "{error}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test]
async fn callers_wait_for_one_dial_no_longer_than_their_deadline() {
    // It accepts, and never says a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let store = connect(&config(&format!("127.0.0.1:{port},password=x")), "p");
    let deadline = Deadline::after(std::time::Duration::from_millis(50));
    let pings = (0..20).map(|_| store.ping(deadline));
    for outcome in futures::future::join_all(pings).await {
        assert!(matches!(outcome.unwrap_err(), Error::Timeout { .. }));
    }
    let accepted = futures::FutureExt::now_or_never(listener.accept());
    assert!(accepted.is_some_and(|accepted| accepted.is_ok()));
    let second = futures::FutureExt::now_or_never(listener.accept());
    assert!(second.is_none(), "twenty callers shared one dial");
}
