//! What needs a Redis server, at `TERRARIUM_REDIS` (a connection string). Each test has a project of its own.

use super::super::super::contract::{self, OldRows, keys, row, soon};
use super::*;
use crate::types::value::Value;

/// A store under a project of its own, and how to clean up after it.
struct Served {
    config: Config,
    project: String,
}

impl Served {
    fn new(options: &str) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "where the test's Redis is, is not configuration"
        )]
        let place = std::env::var("TERRARIUM_REDIS").unwrap();
        Self {
            config: config(&format!("{place}{options}")),
            project: format!("test{}", uuid::Uuid::now_v7().simple()),
        }
    }

    fn store(&self) -> RedisStore {
        connect(&self.config, &self.project)
    }

    async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(info(&self.config)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// The store's keys, without the project.
    async fn keys(&self) -> Vec<Vec<u8>> {
        let mut connection = self.connection().await;
        let pattern = format!("*{}", self.project);
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg(pattern)
            .query_async(&mut connection)
            .await
            .unwrap();
        let length = self.project.len();
        keys.into_iter()
            .map(|key| key[..key.len() - length].to_vec())
            .collect()
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [key, self.project.as_bytes()].concat()
    }

    async fn clean_up(&self) {
        let mut connection = self.connection().await;
        for key in self.keys().await {
            let key = self.key(&key);
            let _: i64 = redis::cmd("DEL")
                .arg(key)
                .query_async(&mut connection)
                .await
                .unwrap();
        }
    }
}

/// The connection that a store of one server reads over.
fn node(store: &RedisStore) -> &Connection {
    match &*store.reads {
        Client::Node(connection) => connection.here(),
        Client::Cluster(_) => panic!("a cluster has several"),
    }
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let served = Served::new("");
    contract::run(Arc::new(served.store()), OldRows::PassOver).await;
    served.clean_up().await;
}

#[tokio::test]
async fn what_we_write_is_what_feast_writes() {
    let served = Served::new("");
    let store = served.store();
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let hashes = recorded_hashes("redis_v3.json");
    for view in registry.feature_views.iter().filter(|view| view.online) {
        let stored = registry_view(&view.name);
        let rows = rows_of(&stored, &hashes);
        assert_eq!(store.write(&stored, &rows).await.unwrap(), rows.len());
    }
    let mut connection = served.connection().await;
    for (key, fields) in &hashes {
        let key = served.key(key.strip_suffix(b"ride_ops").unwrap());
        let ours: BTreeMap<Vec<u8>, Vec<u8>> = redis::cmd("HGETALL")
            .arg(key)
            .query_async(&mut connection)
            .await
            .unwrap();
        // The on-demand view is written by Feast only.
        let mut fields = fields.clone();
        fields.retain(|field, _| ours.contains_key(field) || !is_on_demand(field));
        assert_eq!(ours, fields);
    }
    served.clean_up().await;
}

fn is_on_demand(field: &[u8]) -> bool {
    let own = ["store_no", "rev_per_visit"].map(|name| feature_field("rev_written", name).to_vec());
    own.iter().any(|own| own == field) || field == timestamp_field("rev_written")
}

#[tokio::test]
async fn hashes_that_feast_wrote_are_read() {
    let served = Served::new("");
    let mut connection = served.connection().await;
    let mut n_hashes = 0;
    for (key, fields) in recorded_hashes("redis_v3.json") {
        let key = served.key(key.strip_suffix(b"ride_ops").unwrap());
        let mut command = redis::cmd("HSET");
        command.arg(key);
        for (field, value) in &fields {
            command.arg(field.as_slice()).arg(value.as_slice());
        }
        let _: i64 = command.query_async(&mut connection).await.unwrap();
        n_hashes += 1;
    }
    assert_eq!(served.keys().await.len(), n_hashes);
    let store = served.store();
    for (table, rows) in recorded("sqlite_dump.json").as_object().unwrap() {
        let name = table.strip_prefix("ride_ops_").unwrap();
        for json in rows["rows"].as_array().unwrap() {
            let feature = json["feature_name"].as_str().unwrap();
            let group = KeyGroup {
                views: vec![view(name, &[feature])],
            };
            let key = bytes_of(&json["entity_key"]);
            let answer = store
                .prepare(&[group])
                .read(&[keys(&[&key])], soon())
                .await
                .unwrap();
            let stored = answer[0][0].as_ref().unwrap();
            let mut bytes = Vec::new();
            codec::encode(&stored.value, &mut bytes);
            assert_eq!(
                bytes.len(),
                bytes_of(&json["value"]).len(),
                "{name}:{feature}"
            );
            assert_eq!(
                stored.event_timestamp.as_seconds(),
                json["event_ts"].as_i64().unwrap()
            );
        }
    }
    served.clean_up().await;
}

#[tokio::test]
async fn a_hash_expires_when_keys_have_a_time_to_live() {
    let mut served = Served::new("");
    served.config.key_ttl_seconds = 60;
    let store = served.store();
    let view = view("v", &["a"]);
    store
        .write(&view, &[row(b"k", 10, vec![Value::Int64(1)])])
        .await
        .unwrap();
    let mut connection = served.connection().await;
    let mut ttl = redis::cmd("TTL");
    ttl.arg(served.key(b"k"));
    let left: i64 = ttl.query_async(&mut connection).await.unwrap();
    assert!((1..=60).contains(&left), "{left}");
    let mut persist = redis::cmd("PERSIST");
    let _: i64 = persist
        .arg(served.key(b"k"))
        .query_async(&mut connection)
        .await
        .unwrap();
    store
        .write(&view, &[row(b"k", 9, vec![Value::Int64(2)])])
        .await
        .unwrap();
    let left: i64 = ttl.query_async(&mut connection).await.unwrap();
    assert_eq!(left, -1, "a row that is passed over does not refresh it");
    served.clean_up().await;
}

#[tokio::test]
async fn a_time_to_live_is_given_as_feast_gave_it() {
    let recorded_run = recorded("redis_key_ttl.json");
    let mut served = Served::new("");
    served.config.key_ttl_seconds = recorded_run["key_ttl_seconds"].as_u64().unwrap();
    let store = served.store();
    let stored = registry_view("trip_pair");
    let hashes = recorded_hashes("redis_key_ttl.json");
    let rows = rows_of(&stored, &hashes);
    assert_eq!(rows.len(), hashes.len());
    assert_eq!(store.write(&stored, &rows).await.unwrap(), rows.len());
    let mut connection = served.connection().await;
    for (key, fields) in &hashes {
        let key = served.key(key.strip_suffix(b"ride_ops").unwrap());
        let ours: BTreeMap<Vec<u8>, Vec<u8>> = redis::cmd("HGETALL")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(&ours, fields);
        let mut ttl = redis::cmd("TTL");
        let left: i64 = ttl.arg(&key).query_async(&mut connection).await.unwrap();
        assert!((3_500..=3_600).contains(&left), "{left}");
    }
    served.clean_up().await;
}

#[tokio::test]
async fn a_view_is_deleted_as_feast_deleted_it() {
    let served = Served::new("");
    let before = load(&served, "redis_v3.json").await;
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let recorded_run = recorded("redis_delete_view.json");
    let name = recorded_run["deleted_view"].as_str().unwrap();
    let keys = layout_of(&registry, name, KeyVersion::V3);
    let deleted = recorded_run["fields_removed"].as_array().unwrap();
    let store = served.store();
    let stored = registry_view(name);
    assert_eq!(
        store.delete_view(&stored, &keys).await.unwrap(),
        deleted.len()
    );

    let mut wanted = before;
    for hash in deleted {
        let key = unhex(hash["key_hex"].as_str().unwrap());
        let key = served.key(key.strip_suffix(b"ride_ops").unwrap());
        let fields = wanted.get_mut(&key).unwrap();
        for field in hash["fields_hex"].as_array().unwrap() {
            assert!(fields.remove(&unhex(field.as_str().unwrap())).is_some());
        }
    }
    assert_eq!(hashes_of(&served).await, wanted);
    served.clean_up().await;
}

#[tokio::test]
async fn a_deleted_view_of_version_2_keys_leaves_what_is_of_others() {
    let served = Served::new("");
    let before = load(&served, "redis_v2.json").await;
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let (scalars, pairs) = ("driver_scalars", "trip_pair");
    let keys = layout_of(&registry, scalars, KeyVersion::V2);
    let n_hashes = before
        .values()
        .filter(|fields| fields.contains_key(&timestamp_field(scalars)))
        .count();
    assert!(n_hashes > 0);
    let store = served.store();
    let n_deleted = store.delete_view(&registry_view(scalars), &keys).await;
    assert_eq!(n_deleted.unwrap(), n_hashes);
    let after = hashes_of(&served).await;
    let has = |name: &str| {
        let field = timestamp_field(name);
        after
            .values()
            .filter(|fields| fields.contains_key(&field))
            .count()
    };
    assert_eq!(has(scalars), 0);
    let had = before
        .values()
        .filter(|fields| fields.contains_key(&timestamp_field(pairs)))
        .count();
    assert_eq!(has(pairs), had);
    served.clean_up().await;
}

#[tokio::test]
async fn a_project_whose_name_ends_in_ours_keeps_its_view() {
    let (ours, mut theirs) = (Served::new(""), Served::new(""));
    theirs.project = format!("ride_{}", ours.project);
    let (layout, view) = (KeyLayout::new(KeyVersion::V3, &["k"]), view("v", &["a"]));
    let mut key = Vec::new();
    let value = KeyValue::String("*".to_owned());
    layout.encode(|_| &value, &mut key);
    let rows = [row(&key, 1, vec![Value::Int64(1)])];
    for served in [&ours, &theirs] {
        assert_eq!(served.store().write(&view, &rows).await.unwrap(), 1);
    }
    let n_deleted = ours.store().delete_view(&view, &layout).await.unwrap();
    assert_eq!(n_deleted, 1);
    assert_eq!(theirs.keys().await, [key]);
    theirs.clean_up().await;
}

#[tokio::test]
async fn without_full_scan_nothing_is_deleted() {
    let mut served = Served::new("");
    let before = load(&served, "redis_v3.json").await;
    served.config.full_scan_for_deletion = false;
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let keys = layout_of(&registry, "driver_lists", KeyVersion::V3);
    let stored = registry_view("driver_lists");
    let n_deleted = served.store().delete_view(&stored, &keys).await.unwrap();
    assert_eq!(n_deleted, 0);
    assert_eq!(hashes_of(&served).await, before);
    served.clean_up().await;
}

type Hashes = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Puts a recorded dump there, and answers it with the keys that it has here.
async fn load(served: &Served, dump: &str) -> Hashes {
    let mut connection = served.connection().await;
    let mut loaded = Hashes::new();
    for (key, fields) in recorded_hashes(dump) {
        let key = served.key(key.strip_suffix(b"ride_ops").unwrap());
        let mut command = redis::cmd("HSET");
        command.arg(&key);
        for (field, value) in &fields {
            command.arg(field.as_slice()).arg(value.as_slice());
        }
        let _: i64 = command.query_async(&mut connection).await.unwrap();
        loaded.insert(key, fields);
    }
    loaded
}

/// All that is there now.
async fn hashes_of(served: &Served) -> Hashes {
    let mut connection = served.connection().await;
    let mut hashes = Hashes::new();
    for key in served.keys().await {
        let key = served.key(&key);
        let mut command = redis::cmd("HGETALL");
        let fields = command
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        hashes.insert(key, fields);
    }
    hashes
}

/// A view of the recorded registry.
fn registry_view(name: &str) -> StoredView {
    let registry = Registry::load(&fixture("repo/registry.db"), "ride_ops").unwrap();
    let all = &registry.feature_views;
    let definition = all.iter().find(|view| view.name == name).unwrap();
    let names = definition.features.iter().map(|field| field.name.as_str());
    view(name, &names.collect::<Vec<_>>())
}

fn layout_of(registry: &Registry, view: &str, version: KeyVersion) -> KeyLayout {
    let all = &registry.feature_views;
    let definition = all
        .iter()
        .find(|definition| definition.name == view)
        .unwrap();
    let names = definition.join_keys.iter().map(|key| key.name.as_str());
    KeyLayout::new(version, &names.collect::<Vec<_>>())
}

/// The rows of a view in recorded hashes.
fn rows_of(view: &StoredView, hashes: &Hashes) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, fields) in hashes {
        let Some(timestamp) = fields.get(&timestamp_field(&view.name)) else {
            continue;
        };
        let value =
            |name: &String| codec::decode(&fields[&feature_field(&view.name, name)[..]]).unwrap();
        let key = key.strip_suffix(b"ride_ops").unwrap();
        let mut row = row(key, 0, view.features.iter().map(value).collect());
        row.event_timestamp = codec::decode_timestamp(timestamp).unwrap();
        rows.push(row);
    }
    rows
}

#[tokio::test]
async fn without_deduplication_older_rows_replace_newer_ones() {
    let mut served = Served::new("");
    served.config.skip_dedup = true;
    let store = served.store();
    let view = view("v", &["a"]);
    let rows = [
        row(b"k", 10, vec![Value::Int64(1)]),
        row(b"k", 5, vec![Value::Int64(2)]),
    ];
    assert_eq!(store.write(&view, &rows).await.unwrap(), 2);
    let group = KeyGroup { views: vec![view] };
    let answer = store
        .prepare(&[group])
        .read(&[keys(&[b"k"])], soon())
        .await
        .unwrap();
    assert_eq!(answer[0][0].as_ref().unwrap().value, Value::Int64(2));
    served.clean_up().await;
}

#[tokio::test]
async fn of_concurrent_writers_the_newest_row_stays() {
    let served = Served::new("");
    let view = view("v", &["a"]);
    let stores: Vec<RedisStore> = (0..8).map(|_| served.store()).collect();
    let writers = (0..64).map(|i: i64| {
        let (store, view) = (&stores[(i % 8) as usize], &view);
        // In an order that is neither rising nor falling.
        let seconds = 1 + (i * 37) % 64;
        async move {
            store
                .write(view, &[row(b"k", seconds, vec![Value::Int64(seconds)])])
                .await
        }
    });
    for outcome in futures::future::join_all(writers).await {
        outcome.unwrap();
    }
    let group = KeyGroup {
        views: vec![view.clone()],
    };
    let answer = stores[0]
        .prepare(&[group])
        .read(&[keys(&[b"k"])], soon())
        .await
        .unwrap();
    assert_eq!(answer[0][0].as_ref().unwrap().value, Value::Int64(64));
    served.clean_up().await;
}

#[tokio::test]
async fn a_wide_row_is_written_and_read() {
    let served = Served::new("");
    let store = served.store();
    let names: Vec<String> = (0..5_000).map(|i| format!("f{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let view = view("wide", &names);
    let values: Vec<Value> = (0..5_000).map(Value::Int64).collect();
    store
        .write(&view, &[row(b"k", 1, values.clone())])
        .await
        .unwrap();
    let group = KeyGroup { views: vec![view] };
    let answer = store
        .prepare(&[group])
        .read(&[keys(&[b"k"])], soon())
        .await
        .unwrap();
    let read: Vec<Value> = answer[0]
        .iter()
        .map(|cell| cell.clone().unwrap().value)
        .collect();
    assert_eq!(read, values);
    served.clean_up().await;
}

#[tokio::test]
async fn a_dropped_connection_is_made_anew_within_the_request() {
    let served = Served::new("");
    let store = served.store();
    store.ping(soon()).await.unwrap();
    for _ in 0..3 {
        let mut id = redis::cmd("CLIENT");
        let id = node(&store).one(id.arg("ID"), soon()).await.unwrap();
        let Reply::Int(id) = id else { panic!("{id:?}") };
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id);
        let _: i64 = kill
            .query_async(&mut served.connection().await)
            .await
            .unwrap();
        store.ping(soon()).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_login_is_told_without_the_password() {
    let served = Served::new(",username=nobody,password=sesame");
    let error = served.store().ping(soon()).await.unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    assert!(!text.contains("sesame"), "{text}");
    assert!(
        text.contains("WRONGPASS") || text.to_lowercase().contains("authentication"),
        "{text}"
    );
}
