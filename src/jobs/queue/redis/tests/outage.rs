//! Connections that drop and servers that go away: nothing is lost, and nothing ends twice.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use redis::Value;

use super::super::super::contract::{
    self, LONG, NOW, add, claim_one, complete, config, job, some, until_it_works,
};
use super::server::Server;
use super::*;

/// Arq's worker ends within a third of a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_a_restart_of_redis_and_running_ones_are_settled_after_it() {
    let mut server = Server::start();
    let queue = server.queue();
    let waiting = JobId::random();
    let running = add(&*queue).await;
    let claimed = claim_one(&*queue).await;
    queue.enqueue(&[job(&waiting)]).await.unwrap();
    server.kill();
    let error = queue.claim(some(1), NOW).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let down = Instant::now();
    while down.elapsed() < config().lease * 2 {
        assert!(queue.health().await.is_err());
    }
    server.restart();
    // The lease ran out meanwhile. Nobody else has the job, so it is still ours to settle.
    let settlement = [Settlement {
        lease: claimed.lease,
        outcome: complete(Keep::Forever),
    }];
    let states = until_it_works(|| queue.settle(&settlement)).await;
    assert_eq!(states, [LeaseState::Held]);
    assert_eq!(
        contract::get(&*queue, &running).await.status,
        JobStatus::Complete
    );
    assert_eq!(claim_one(&*queue).await.lease.id, waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_ends_once_while_connections_are_killed() {
    let server = Server::start();
    let ours: Arc<dyn JobQueue> = server.queue();
    let others: Arc<dyn JobQueue> = server.queue();
    let is_over = Arc::new(AtomicBool::new(false));
    let url = server.url();
    let killer = std::thread::spawn({
        let is_over = is_over.clone();
        move || {
            let mut n_killed = 0;
            let mut connection = redis::Client::open(url.as_str())
                .and_then(|client| client.get_connection())
                .unwrap();
            while !is_over.load(Ordering::Relaxed) {
                for kind in ["normal", "pubsub"] {
                    let mut kill = redis::cmd("CLIENT");
                    kill.arg(&["KILL", "TYPE", kind, "SKIPME", "yes"]);
                    n_killed += kill.query::<u64>(&mut connection).unwrap();
                }
                std::thread::park_timeout(Duration::from_millis(100));
            }
            n_killed
        }
    });
    contract::every_job_ends_once_in_any_schedule(&ours, &others, 5).await;
    is_over.store(true, Ordering::Relaxed);
    assert!(killer.join().unwrap() > 5);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_costs_no_attempt() {
    let server = Server::start();
    let queue = server.queue();
    // The server knows the script then.
    assert!(queue.claim(some(1), NOW).await.unwrap().is_empty());
    let id = add(&*queue).await;
    // As if the answer had not arrived: the caller leaves once the script has run.
    server.run(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), queue.claim(some(1), NOW))
            .await
            .is_err()
    );
    server.run(&["CLIENT", "UNPAUSE"]);
    let key = format!("arq:in-progress:{id}");
    while server.number(&["EXISTS", &key]) == 0 {
        tokio::task::yield_now().await;
    }
    let claimed = queue.claim(some(1), NOW).await.unwrap();
    assert_eq!((&claimed[0].lease.id, claimed[0].lease.attempt), (&id, 1));
    assert_eq!(claimed[0].body.as_ref().unwrap(), &job(&id).body);
    assert!(queue.claim(some(1), NOW).await.unwrap().is_empty());
    let settled = contract::settle(&*queue, &claimed[0].lease, complete(Keep::No)).await;
    assert_eq!(settled, LeaseState::Held);
}

#[tokio::test]
async fn who_listens_hears_again_after_a_restart() {
    let mut server = Server::start();
    let jobs = JobsConfig {
        poll: LONG,
        ..config()
    };
    let queue = open(&server.settings(), &jobs, &Shutdown::new()).unwrap();
    let hears_everything = async || {
        let started = Instant::now();
        while queue.ear.hears() != listen::Hears::Everything {
            assert!(started.elapsed() < LONG);
            let _ = queue.claim(some(1), Duration::from_millis(5)).await;
        }
    };
    hears_everything().await;
    server.kill();
    while queue.ear.hears() != listen::Hears::Nothing {
        tokio::task::yield_now().await;
    }
    server.restart();
    // The server forgot that it should tell, and is asked again.
    hears_everything().await;
    let started = Instant::now();
    let (claimed, _) = tokio::join!(queue.claim(some(1), LONG), async {
        server.run(&["SET", "arq:job:id", "body"]);
        server.run(&["ZADD", "arq:queue", "1", "id"])
    });
    assert_eq!(claimed.unwrap().len(), 1);
    assert!(started.elapsed() < Duration::from_millis(900));
    assert_eq!(
        server.run(&["PING"]),
        Value::SimpleString("PONG".to_owned())
    );
}
