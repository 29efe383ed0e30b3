//! Feast's feature-server API over Redis, against what the real one answered.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::feast_replay::{recorded, replay, repo, serve, unhex};
use crate::redis_server::RedisServer;

type Dump = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

fn dump(name: &str) -> Dump {
    let recorded = recorded(name);
    let hex = |json: &Value| unhex(json.as_str().unwrap());
    let keys = recorded["keys"].as_array().unwrap().iter().map(|key| {
        let fields = key["fields"].as_array().unwrap().iter();
        let fields = fields.map(|field| (hex(&field["field_hex"]), hex(&field["value_hex"])));
        (hex(&key["key_hex"]), fields.collect())
    });
    keys.collect()
}

#[tokio::test]
async fn the_recorded_requests_are_answered_over_redis_as_feast_answered_them() {
    let redis = RedisServer::start();
    let mut connection = redis.connection().unwrap();
    for (key, fields) in dump("redis_v3.json") {
        let mut set = redis::cmd("HSET");
        set.arg(key);
        for (field, value) in fields {
            set.arg(field).arg(value);
        }
        set.exec(&mut connection).unwrap();
    }
    let yaml = format!(
        "project: ride_ops\nregistry: registry.db\nonline_store:\n  type: redis\n  connection_string: {}\n",
        redis.address()
    );
    let repo = repo(&yaml);
    let mut server = serve(repo.path(), &[]).await;
    replay(&server, "http_redis.json").await;
    // With it ends what was started in the background.
    server.stop().await;
    compare_store(&mut connection);
}

/// Key by key and field by field against `redis_v3_after_http.json`.
fn compare_store(connection: &mut redis::Connection) {
    let wanted = dump("redis_v3_after_http.json");
    let keys: BTreeSet<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
    let recorded: BTreeSet<Vec<u8>> = wanted.keys().cloned().collect();
    assert_eq!(keys, recorded);
    for (key, wanted) in wanted {
        let found: BTreeMap<Vec<u8>, Vec<u8>> =
            redis::cmd("HGETALL").arg(&key).query(connection).unwrap();
        let fields = |hash: &BTreeMap<Vec<u8>, Vec<u8>>| hash.keys().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&found), fields(&wanted), "{key:?}");
        for (field, wanted) in wanted {
            let name = String::from_utf8_lossy(&field).into_owned();
            // An on-demand view that is written has the time of the write; entries of maps are stored in any order.
            let is_same = found[&field] == wanted || found[&field].len() == wanted.len();
            assert!(
                is_same || name == "_ts:rev_written",
                "{key:?} {name}: {:?} {wanted:?}",
                found[&field]
            );
        }
    }
}
