//! Cluster, Sentinel and TLS. The contract runs on the servers of `dev/services`; what breaks servers has its own.

use std::time::{Duration, Instant};

use super::super::super::contract::{self, OldRows, keys, row, soon};
use super::servers::Servers;
use super::*;
use crate::error::Failure;
use crate::types::deadline::Deadline;
use crate::types::value::Value;

/// A store of a project that nobody else has.
fn store(kind: &str, connection_string: &str) -> RedisStore {
    match Config::parse(kind, connection_string, None, &mut Vec::new()) {
        Ok(config) => connect(&config, &new_project()),
        Err(_) => panic!("{connection_string} is a connection string"),
    }
}

fn new_project() -> String {
    format!("test{}", uuid::Uuid::now_v7().simple())
}

/// The same store for another project, over the same connections.
fn with_new_project(store: RedisStore) -> RedisStore {
    RedisStore {
        project: new_project().into(),
        ..store
    }
}

fn shared(variable: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the test's Redis is, is not configuration"
    )]
    let place = std::env::var(variable);
    place.unwrap_or_else(|_| panic!("{variable} is set by `dev/services up`"))
}

async fn keep_the_contract(store: RedisStore) -> RedisStore {
    let store = Arc::new(store);
    contract::run(store.clone(), OldRows::PassOver).await;
    Arc::into_inner(store).unwrap()
}

/// One key of each shard, with the view that all of them have.
async fn spread(store: &RedisStore) -> (Vec<Vec<u8>>, StoredView) {
    let names: Vec<Vec<u8>> = (0..60).map(|i| format!("key-{i}").into_bytes()).collect();
    let view = view("v", &["a"]);
    let rows: Vec<Row> = names
        .iter()
        .map(|name| row(name, 5, vec![Value::Int64(1)]))
        .collect();
    assert_eq!(store.write(&view, &rows).await.unwrap(), rows.len());
    (names, view)
}

async fn read_all(
    store: &RedisStore,
    names: &[Vec<u8>],
    view: &StoredView,
    deadline: Deadline,
) -> Result<usize, Error> {
    let wanted: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let group = KeyGroup {
        views: vec![view.clone()],
    };
    let answer = store
        .prepare(&[group])
        .read(&[keys(&wanted)], deadline)
        .await?;
    Ok(answer[0].iter().flatten().count())
}

/// Reads with a short time-out until it works, and tells what failed before.
async fn read_until_it_works(
    store: &RedisStore,
    names: &[Vec<u8>],
    view: &StoredView,
) -> Vec<&'static str> {
    let started = Instant::now();
    let mut failures = Vec::new();
    loop {
        let deadline = Deadline::after(Duration::from_millis(200));
        match read_all(store, names, view, deadline).await {
            Ok(n_found) => {
                assert_eq!(n_found, names.len());
                return failures;
            }
            Err(error) => failures.push(error.code()),
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{failures:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cluster_keeps_the_contract() {
    keep_the_contract(store("redis_cluster", &shared("TERRARIUM_REDIS_CLUSTER"))).await;
}

#[tokio::test]
async fn a_master_that_sentinels_name_keeps_the_contract() {
    keep_the_contract(store("redis_sentinel", &shared("TERRARIUM_REDIS_SENTINEL"))).await;
}

#[tokio::test]
async fn a_cluster_keeps_the_contract_while_a_node_is_killed_and_fails_over() {
    let mut servers = Servers::cluster();
    let nodes = [0, 1, 2].map(|i| servers.address(i)).join(",");
    let mut store = keep_the_contract(store("redis_cluster", &nodes)).await;
    for killed in [0, 1] {
        servers.kill(killed);
        store = keep_the_contract(with_new_project(store)).await;
        servers.restart(killed);
        store = keep_the_contract(with_new_project(store)).await;
    }
}

#[tokio::test]
async fn sentinels_keep_the_contract_while_the_master_is_killed_and_fails_over() {
    let mut servers = Servers::sentinel();
    let sentinels = [2, 3, 4].map(|i| servers.address(i)).join(",");
    let store = keep_the_contract(store("redis_sentinel", &sentinels)).await;
    servers.kill(0);
    let store = keep_the_contract(with_new_project(store)).await;
    servers.restart(0);
    // The sentinels tell the former master that it is a replica now.
    servers.wait(0, &["INFO", "replication"], "role:slave");
    keep_the_contract(with_new_project(store)).await;
}

#[tokio::test]
async fn a_master_of_a_cluster_that_hangs_is_replaced_while_it_hangs() {
    let servers = Servers::cluster();
    let store = store("redis_cluster", &servers.address(0));
    let (names, view) = spread(&store).await;
    servers.wait_for_replica(1);
    servers.freeze(1);
    let failures = read_until_it_works(&store, &names, &view).await;
    assert!(!failures.is_empty());
    let known = [
        "online_store_timeout",
        "online_store_not_answering",
        "online_store_unreachable",
    ];
    assert!(
        failures.iter().all(|code| known.contains(code)),
        "{failures:?}"
    );
    let rows = [row(&names[0], 6, vec![Value::Int64(2)])];
    assert_eq!(store.write(&view, &rows).await.unwrap(), 1);
}

#[tokio::test]
async fn a_master_that_sentinels_name_is_replaced_while_it_hangs() {
    let servers = Servers::sentinel();
    let store = store("redis_sentinel", &servers.address(3));
    let (names, view) = spread(&store).await;
    servers.wait_for_replica(0);
    servers.freeze(0);
    let failures = read_until_it_works(&store, &names, &view).await;
    assert!(!failures.is_empty());
    let rows = [row(&names[0], 6, vec![Value::Int64(2)])];
    assert_eq!(store.write(&view, &rows).await.unwrap(), 1);
}

#[tokio::test]
async fn keys_are_followed_while_their_slot_moves_to_another_node() {
    let servers = Servers::cluster();
    let store = store("redis_cluster", &servers.address(0));
    let (names, view) = spread(&store).await;
    let key = [names[0].as_slice(), store.project.as_bytes()].concat();
    let key = std::str::from_utf8(&key).unwrap();
    let slot = servers
        .ask::<u16>(0, &["CLUSTER", "KEYSLOT", key])
        .unwrap()
        .to_string();
    let owner = (0..3)
        .find(|&i| servers.ask::<i64>(i, &["EXISTS", key]).is_ok())
        .unwrap();
    let to = (owner + 1) % 3;
    let id = |i| servers.ask::<String>(i, &["CLUSTER", "MYID"]).unwrap();
    let (owner_id, to_id) = (id(owner), id(to));
    let set_slot = |i, rest: &[&str]| {
        let mut command = vec!["CLUSTER", "SETSLOT", slot.as_str()];
        command.extend(rest);
        servers.ask::<()>(i, &command).unwrap();
    };
    set_slot(to, &["IMPORTING", &owner_id]);
    set_slot(owner, &["MIGRATING", &to_id]);
    let found = || read_all(&store, &names, &view, soon());
    assert_eq!(found().await.unwrap(), names.len(), "before it moves");
    let port = servers.address(to).rsplit_once(':').unwrap().1.to_owned();
    let migrate = ["MIGRATE", "127.0.0.1", &port, key, "0", "5000"];
    servers.ask::<String>(owner, &migrate).unwrap();
    assert_eq!(found().await.unwrap(), names.len(), "ASK");
    let rows = [row(&names[0], 6, vec![Value::Int64(2)])];
    assert_eq!(store.write(&view, &rows).await.unwrap(), 1, "ASK");
    for i in [to, owner] {
        set_slot(i, &["NODE", &to_id]);
    }
    assert_eq!(found().await.unwrap(), names.len(), "MOVED");
    let rows = [row(&names[0], 7, vec![Value::Int64(3)])];
    assert_eq!(store.write(&view, &rows).await.unwrap(), 1);
}

#[tokio::test]
async fn tls_is_as_strict_as_the_options_say() {
    let servers = Servers::tls("no");
    let port = servers.address(0).rsplit_once(':').unwrap().1.to_owned();
    let file = |name: &str| servers.directory.path().join(name).display().to_string();
    let ping = |host: &str, options: String| {
        let text = format!("{host}:{port},ssl=true{options}");
        async move { store("redis", &text).ping(soon()).await }
    };
    let ca = format!(",ssl_ca_certs={}", file("ca.crt"));
    let other = format!(",ssl_ca_certs={}", file("other.crt"));
    ping("localhost", ca.clone()).await.unwrap();
    ping("127.0.0.1", format!("{ca},ssl_check_hostname=false"))
        .await
        .unwrap();
    ping("127.0.0.1", format!("{other},ssl_cert_reqs=none"))
        .await
        .unwrap();
    for (host, options) in [
        ("localhost", other),
        ("127.0.0.1", ca),
        ("localhost", String::new()),
    ] {
        let error = ping(host, options.clone()).await.unwrap_err();
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{options}: {error}"
        );
    }
}

#[tokio::test]
async fn tls_shows_the_clients_certificate() {
    let servers = Servers::tls("yes");
    let port = servers.address(0).rsplit_once(':').unwrap().1.to_owned();
    let file = |name: &str| servers.directory.path().join(name).display().to_string();
    let server = format!("localhost:{port},ssl=true,ssl_ca_certs={}", file("ca.crt"));
    let client = format!(
        "{server},ssl_certfile={},ssl_keyfile={}",
        file("client.crt"),
        file("client.key")
    );
    keep_the_contract(store("redis", &client)).await;
    assert!(store("redis", &server).ping(soon()).await.is_err());
}
