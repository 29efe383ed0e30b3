//! The contract on a cluster and behind sentinels, and what they do when a server goes away.

use std::time::Instant;

use redis::Value;

use super::super::super::contract::{self, LONG, add, config, until_it_works};
use super::server::{Server, free_port};
use super::*;
use crate::testing::{make_authority, make_certificate};

fn text(reply: Value) -> String {
    redis::from_redis_value(reply).unwrap()
}

/// Asks until the answer is as it should be.
fn until(server: &Server, words: &[&str], is_fine: impl Fn(&str) -> bool) {
    let started = Instant::now();
    loop {
        let answer = text(server.run(words));
        if is_fine(&answer) {
            return;
        }
        assert!(started.elapsed() < LONG, "{words:?}: {answer}");
        std::thread::yield_now();
    }
}

/// Three masters without replicas.
fn cluster() -> Vec<Server> {
    let arguments = [
        "--cluster-enabled",
        "yes",
        "--save",
        "",
        "--cluster-node-timeout",
        "2000",
    ];
    let nodes: Vec<Server> = (0..3)
        .map(|_| Server::start_with(&arguments.map(str::to_owned)))
        .collect();
    for (i, node) in nodes.iter().enumerate() {
        let (first, last) = ([0, 5_461, 10_923][i], [5_460, 10_922, 16_383][i]);
        node.run(&[
            "CLUSTER",
            "ADDSLOTSRANGE",
            &first.to_string(),
            &last.to_string(),
        ]);
        for other in &nodes[..i] {
            // The bus port is 10,000 above, which may be no port.
            node.run(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
        }
    }
    for node in &nodes {
        until(node, &["CLUSTER", "INFO"], |info| {
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        });
    }
    nodes
}

fn in_cluster(seed: &Server) -> Config {
    Config {
        url: seed.url(),
        queue: "{jobs}:queue".to_owned(),
        prefix: "{jobs}:".to_owned(),
        cluster: true,
        timeout: LONG,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_in_a_cluster_from_any_node() {
    let nodes = cluster();
    let queue = |i: usize| open(&in_cluster(&nodes[i]), &config(), &Shutdown::new()).unwrap();
    contract::run(Arc::new(queue(0)), Arc::new(queue(1))).await;

    // The queue's slot moves to another node, key by key, while it is used.
    let queue = queue(2);
    let ids = [add(&queue).await, add(&queue).await];
    let slot = nodes[0]
        .number(&["CLUSTER", "KEYSLOT", "{jobs}:queue"])
        .to_string();
    let has_it = |node: &&Server| {
        let keys = node.run(&["CLUSTER", "COUNTKEYSINSLOT", &slot]);
        keys != Value::Int(0)
    };
    let from = nodes.iter().find(has_it).unwrap();
    let to = nodes.iter().find(|node| node.port != from.port).unwrap();
    let name = |node: &Server| text(node.run(&["CLUSTER", "MYID"]));
    to.run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &name(from)]);
    from.run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &name(to)]);
    let keys: Vec<String> =
        redis::from_redis_value(from.run(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"])).unwrap();
    let port = to.port.to_string();
    for key in keys {
        from.run(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
    }
    for node in &nodes {
        node.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &name(to)]);
    }
    for id in ids {
        let claimed = contract::claim_one(&queue).await;
        assert_eq!(claimed.lease.id, id);
        contract::settle(&queue, &claimed.lease, contract::complete(Keep::No)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_follows_its_master_behind_sentinels() {
    let mut master = Server::start();
    let replica = Server::start();
    replica.run(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    until(&replica, &["INFO", "replication"], |info| {
        info.contains("master_link_status:up")
    });
    let watch = format!(
        "sentinel monitor jobs 127.0.0.1 {} 1\nsentinel down-after-milliseconds jobs 500\nsentinel failover-timeout jobs 5000\n",
        master.port
    );
    let sentinel = Server::start_with(&["--sentinel".to_owned(), watch]);
    until(&sentinel, &["INFO", "sentinel"], |info| {
        info.contains("slaves=1")
    });
    let settings = Config {
        sentinel: Some("jobs".to_owned()),
        timeout: LONG,
        ..sentinel.settings()
    };
    let queue =
        || -> Arc<dyn JobQueue> { Arc::new(open(&settings, &config(), &Shutdown::new()).unwrap()) };
    let (ours, others) = (queue(), queue());
    contract::every_job_ends_once_in_any_schedule(&ours, &others, 3).await;

    let id = add(&*ours).await;
    let key = format!("arq:job:{id}");
    while replica.run(&["EXISTS", &key]) != Value::Int(1) {
        tokio::task::yield_now().await;
    }
    master.kill();
    // Calls wait for the new master.
    let jobs = until_it_works(|| others.claim(contract::some(1), LONG)).await;
    assert_eq!(jobs[0].lease.id, id);
    contract::settle(&*ours, &jobs[0].lease, contract::complete(Keep::No)).await;
}

/// A server that speaks TLS on a port of its own, with a certificate of an authority that only the settings know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept_over_tls() {
    let certificates = tempfile::tempdir().unwrap();
    make_authority(certificates.path(), "ca");
    make_certificate(certificates.path(), "server");
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let port = free_port();
    let arguments = [
        "--save",
        "",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.crt"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("ca.crt"),
        "--tls-auth-clients",
        "no",
    ];
    let _server = Server::start_with(&arguments.map(str::to_owned));
    let settings = Config {
        url: format!("rediss://localhost:{port}/0"),
        tls_ca: Some(path("ca.crt").into()),
        ..Config::default()
    };
    let queue = || Arc::new(open(&settings, &config(), &Shutdown::new()).unwrap());
    contract::run(queue(), queue()).await;

    // Who does not know the authority does not trust it.
    let stranger = Config {
        tls_ca: None,
        ..settings
    };
    let stranger = open(&stranger, &config(), &Shutdown::new()).unwrap();
    let refused = format!("{:?}", stranger.health().await.unwrap_err());
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}
