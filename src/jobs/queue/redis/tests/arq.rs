//! The contract on a real server, arq's layout, and the weaknesses of arq that do not exist here.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use redis::Value;

use super::super::super::contract::{
    self, LONG, NOW, add, claim_one, complete, config, drain, get, job, settle, some,
};
use super::server::Server;
use super::*;
use crate::types::timestamp::Timestamp;

const HOUR: Keep = Keep::For(Duration::from_secs(3600));

fn now_ms() -> i64 {
    Timestamp::now().as_micros() / 1_000
}

/// As arq's client enqueues.
fn enqueue_as_arq(server: &Server, id: &str, body: &str) {
    server.run(&["PSETEX", &format!("arq:job:{id}"), "86400000", body]);
    server.run(&["ZADD", "arq:queue", &now_ms().to_string(), id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_is_kept() {
    let server = Server::start();
    contract::run(server.queue(), server.queue()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_ends_once_in_other_schedules() {
    let server = Server::start();
    for seed in [1, 2, 3] {
        let ours: Arc<dyn JobQueue> = server.queue();
        let others: Arc<dyn JobQueue> = server.queue();
        contract::every_job_ends_once_in_any_schedule(&ours, &others, seed).await;
    }
    assert_eq!(server.number(&["ZCARD", "arq:queue"]), 0);
    let left = server.keys();
    let is_expected = |key: &&String| {
        key.starts_with("arq:result:")
            || key.starts_with("arq:queue:dead")
            || *key == "arq:queue:complete"
    };
    assert_eq!(
        left.iter().filter(|key| !is_expected(key)).count(),
        0,
        "{left:?}"
    );
}

#[tokio::test]
async fn the_layout_is_arqs() {
    let server = Server::start();
    let queue = server.queue();
    let id = JobId::new("id").unwrap();
    let before = now_ms();
    queue.enqueue(&[job(&id)]).await.unwrap();
    assert_eq!(server.keys(), ["arq:job:id", "arq:queue"]);
    let score = server.number(&["ZSCORE", "arq:queue", "id"]);
    assert!((before - 1..=now_ms() + 1).contains(&score), "{score}");
    let life = server.number(&["PTTL", "arq:job:id"]);
    assert!((86_390_000..=86_400_000).contains(&life), "{life}");

    let claimed = claim_one(&*queue).await;
    assert_eq!(server.number(&["GET", "arq:retry:id"]), 1);
    let life = server.number(&["TTL", "arq:retry:id"]);
    assert!((88_300..=88_400).contains(&life), "{life}");
    assert!(server.number(&["PTTL", "arq:in-progress:id"]) <= millis(config().lease));
    assert_eq!(server.number(&["ZCARD", "arq:queue"]), 1);

    settle(&*queue, &claimed.lease, complete(HOUR)).await;
    assert_eq!(server.keys(), ["arq:queue:complete", "arq:result:id"]);
    let life = server.number(&["PTTL", "arq:result:id"]);
    assert!((3_590_000..=3_600_000).contains(&life), "{life}");
    queue.report("line", Duration::from_secs(9)).await.unwrap();
    assert!(server.number(&["PTTL", "arq:queue:health-check"]) > 8_000);
}

#[tokio::test]
async fn a_job_of_arqs_client_wakes_us_by_keyspace_events() {
    let server = Server::start();
    let queue = Arc::new(
        open(
            &server.settings(),
            &JobsConfig {
                poll: LONG,
                ..config()
            },
            &Shutdown::new(),
        )
        .unwrap(),
    );
    // Listening begins with the first claim.
    while queue.ear.hears() != listen::Hears::Everything {
        queue
            .claim(some(1), Duration::from_millis(5))
            .await
            .unwrap();
    }
    let mut waited = Vec::new();
    for i in 0..10 {
        let id = format!("job{i}");
        let started = Instant::now();
        let (claimed, ()) = tokio::join!(queue.claim(some(1), LONG), async {
            enqueue_as_arq(&server, &id, "body");
        });
        waited.push(started.elapsed());
        let claimed = claimed.unwrap().pop().unwrap();
        assert_eq!(claimed.lease.id.as_str(), id);
        assert_eq!(claimed.body.unwrap(), "body");
        settle(&*queue, &claimed.lease, complete(HOUR)).await;
    }
    waited.sort();
    assert!(waited[5] < Duration::from_millis(200), "{waited:?}");
}

#[tokio::test]
async fn a_job_of_arqs_client_is_found_by_looking_where_the_server_tells_nothing() {
    let server = Server::start();
    let settings = Config {
        keyspace_events: false,
        ..server.settings()
    };
    let queue = open(&settings, &config(), &Shutdown::new()).unwrap();
    let (claimed, ()) = tokio::join!(queue.claim(some(1), LONG), async {
        enqueue_as_arq(&server, "id", "body");
    });
    assert_eq!(claimed.unwrap().len(), 1);
    let flags = server.run(&["CONFIG", "GET", "notify-keyspace-events"]);
    let flags: Vec<String> = redis::from_redis_value(flags).unwrap();
    assert_eq!(
        flags[1], "",
        "a server that we may not set up stays as it was"
    );
}

/// arq reads the first hundred entries, and running jobs are among them.
#[tokio::test]
async fn running_jobs_do_not_hide_what_waits() {
    let server = Server::start();
    let queue = server.queue();
    // Run by arq's workers, which leave them where they are.
    for i in 0..400 {
        let id = format!("arq{i:03}");
        server.run(&["ZADD", "arq:queue", &(now_ms() - 100_000).to_string(), &id]);
        server.run(&["SET", &format!("arq:job:{id}"), "body"]);
        server.run(&["PSETEX", &format!("arq:in-progress:{id}"), "310000", "1"]);
    }
    let ids = [add(&*queue).await, add(&*queue).await];
    let claimed = queue.claim(some(10), NOW).await.unwrap();
    let found: Vec<JobId> = claimed.iter().map(|job| job.lease.id.clone()).collect();
    assert_eq!(found, ids);
    // What we run is out of arq's way as well.
    let due = server.number(&["ZCOUNT", "arq:queue", "-inf", &now_ms().to_string()]);
    assert_eq!(due, 400);
    let page = queue
        .list(JobStatus::Running, None, some(100))
        .await
        .unwrap();
    assert_eq!(page.jobs.len(), 2);
    let page = queue
        .list(JobStatus::Running, page.next.as_ref(), some(100))
        .await
        .unwrap();
    assert_eq!(page.jobs.len(), 100, "then those of arq's workers");
}

/// arq's in-progress keys last for the time-out and ten seconds: 310 s.
#[tokio::test]
async fn a_dead_workers_job_runs_again_within_the_lease_ahead_of_the_backlog() {
    let server = Server::start();
    let queue = server.queue();
    let id = add(&*queue).await;
    drop(claim_one(&*queue).await);
    let died = Instant::now();
    for _ in 0..30 {
        add(&*queue).await;
    }
    let mut n_others = 0;
    loop {
        let claimed = queue.claim(some(1), LONG).await.unwrap().pop().unwrap();
        if claimed.lease.id == id {
            assert_eq!(claimed.lease.attempt, 2);
            break;
        }
        n_others += 1;
        // Held up until the lease is over, so that a backlog is left.
        while n_others == 5 && died.elapsed() < config().lease + Duration::from_millis(10) {
            queue.health().await.unwrap();
        }
        settle(&*queue, &claimed.lease, complete(HOUR)).await;
    }
    assert!(n_others < 30, "it waited for all of the backlog");
    assert!(died.elapsed() < config().lease * 5);
}

/// In arq the life of a job's bytes counts from when it was enqueued: long chains of retries end as "job expired".
#[tokio::test]
async fn a_jobs_life_counts_from_its_last_attempt() {
    let server = Server::start();
    let queue = server.queue();
    let id = add(&*queue).await;
    let key = format!("arq:job:{id}");
    let days = |n: i64| n * 86_400_000;
    server.run(&["PEXPIRE", &key, "60000"]);
    let claimed = claim_one(&*queue).await;
    assert!(server.number(&["PTTL", &key]) > days(1) - 10_000);
    server.run(&["PEXPIRE", &key, "60000"]);
    queue
        .extend(std::slice::from_ref(&claimed.lease))
        .await
        .unwrap();
    assert!(server.number(&["PTTL", &key]) > days(1) - 10_000);
    let after = Duration::from_secs(3 * 86_400);
    settle(&*queue, &claimed.lease, JobOutcome::Retry { after }).await;
    assert!(server.number(&["PTTL", &key]) > days(4) - 10_000);
    let counter = format!("arq:retry:{id}");
    assert!(
        server.number(&["PTTL", &counter]) > days(4) - 10_000,
        "attempts are not forgotten"
    );
}

/// arq leaves the request there for ever, and it kills the next job of this id.
#[tokio::test]
async fn a_request_to_abort_what_has_ended_kills_no_later_job() {
    let server = Server::start();
    let queue = server.queue();
    let id = JobId::new("reused").unwrap();
    // As arq's client leaves it.
    server.run(&[
        "ZADD",
        "arq:abort",
        &(now_ms() - 7_000).to_string(),
        "reused",
    ]);
    server.run(&[
        "ZADD",
        "arq:abort",
        &(now_ms() - 7_000).to_string(),
        "another",
    ]);
    queue.enqueue(&[job(&id)]).await.unwrap();
    let claimed = claim_one(&*queue).await;
    assert_eq!(claimed.abort_requested, None);
    settle(&*queue, &claimed.lease, complete(Keep::No)).await;
    // Swept up by whoever looks for requests.
    assert_eq!(server.number(&["EXISTS", "arq:abort"]), 1);
    queue.aborted(&[], NOW).await.unwrap();
    assert_eq!(server.number(&["EXISTS", "arq:abort"]), 0);
    // Enqueued by arq's client in between: the request is older than the job, and says so.
    let asked = now_ms() - 1_000;
    server.run(&["ZADD", "arq:abort", &asked.to_string(), "reused"]);
    enqueue_as_arq(&server, "reused", "body");
    let claimed = claim_one(&*queue).await;
    let requested = claimed.abort_requested.unwrap();
    assert_eq!(requested.as_micros() / 1_000, asked);
    assert!(
        queue.aborted(&[id], NOW).await.unwrap().is_empty(),
        "it is not told twice"
    );
}

#[tokio::test]
async fn a_request_of_arqs_client_is_heard() {
    let server = Server::start();
    let queue = server.queue();
    let id = add(&*queue).await;
    let claimed = claim_one(&*queue).await;
    let started = Instant::now();
    let running = [id.clone()];
    let (heard, ()) = tokio::join!(queue.aborted(&running, LONG), async {
        server.run(&["ZADD", "arq:abort", &now_ms().to_string(), id.as_str()]);
    });
    assert_eq!(heard.unwrap(), running);
    assert!(started.elapsed() < Duration::from_secs(3));
    settle(&*queue, &claimed.lease, complete(HOUR)).await;
    assert_eq!(server.number(&["EXISTS", "arq:abort"]), 0);
}

/// arq's worker dies of it.
#[tokio::test]
async fn an_id_that_is_not_utf8_is_moved_aside_once() {
    let server = Server::start();
    let queue = server.queue();
    server.run_bytes(&[b"SET", b"arq:job:a\xff\xfe", b"body"]);
    server.run_bytes(&[b"ZADD", b"arq:queue", b"5", b"a\xff\xfe"]);
    let id = add(&*queue).await;
    let claimed = queue.claim(some(10), LONG).await.unwrap();
    assert_eq!(claimed.len(), 1, "the others go on");
    assert_eq!(claimed[0].lease.id, id);
    assert_eq!(server.number(&["ZCARD", "arq:queue"]), 1);
    let dead = get(&*queue, &JobId::new("a\\xff\\xfe").unwrap()).await;
    assert_eq!(dead.status, JobStatus::Dead);
    assert_eq!(dead.body.unwrap(), "body");
    assert!(dead.dead.unwrap().reason.contains("not UTF-8"));
    let page = queue.list(JobStatus::Dead, None, some(10)).await.unwrap();
    assert_eq!(page.jobs.len(), 1);
}

#[tokio::test]
async fn keys_of_another_type_hold_up_no_other_job() {
    let server = Server::start();
    let queue = server.queue();
    for (id, key, words) in [
        ("list", "arq:job:list", ["RPUSH", "x"]),
        ("counter", "arq:retry:counter", ["RPUSH", "x"]),
        ("text", "arq:retry:text", ["SET", "not a number"]),
    ] {
        enqueue_as_arq(&server, id, "body");
        server.run(&["DEL", key]);
        server.run(&[words[0], key, words[1]]);
    }
    let id = add(&*queue).await;
    let claimed = queue.claim(some(10), LONG).await.unwrap();
    assert_eq!(claimed.len(), 4);
    assert!(claimed.iter().any(|job| job.lease.id == id));
    for job in &claimed {
        let is_list = job.lease.id.as_str() == "list";
        assert_eq!(job.body.as_ref().is_some_and(Bytes::is_empty), is_list);
        assert_eq!(job.lease.attempt, 1);
        let state = settle(&*queue, &job.lease, complete(Keep::No)).await;
        assert_eq!(state, LeaseState::Held);
    }
    assert!(server.keys().is_empty(), "{:?}", server.keys());
}

#[tokio::test]
async fn entries_of_any_score_hold_up_no_other_job() {
    let server = Server::start();
    let queue = server.queue();
    for (score, id) in [
        ("0", "zero"),
        ("-inf", "always"),
        ("inf", "never"),
        ("-5", "minus"),
    ] {
        server.run(&["SET", &format!("arq:job:{id}"), "body"]);
        server.run(&["ZADD", "arq:queue", score, id]);
    }
    let id = add(&*queue).await;
    let claimed = queue.claim(some(10), LONG).await.unwrap();
    let ids: Vec<&str> = claimed.iter().map(|job| job.lease.id.as_str()).collect();
    // By arq's rules what has the score 0 is in no queue.
    assert_eq!(ids, ["always", "minus", id.as_str()]);
    for job in &claimed {
        settle(&*queue, &job.lease, JobOutcome::Released).await;
    }
    let scores = ["always", "minus"].map(|id| server.run(&["ZSCORE", "arq:queue", id]));
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    assert_eq!(scores, [text("-inf"), text("-5")]);
}

/// One unreadable entry makes arq's lists fail as a whole.
#[tokio::test]
async fn a_list_passes_over_what_cannot_be_listed() {
    let server = Server::start();
    let queue = server.queue();
    server.run_bytes(&[b"ZADD", b"arq:queue", b"1", b"\xff"]);
    server.run(&["ZADD", "arq:queue", "2", "expired"]);
    let id = add(&*queue).await;
    let page = queue.list(JobStatus::Queued, None, some(10)).await.unwrap();
    let ids: Vec<&str> = page.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["expired", id.as_str()]);
    assert!(page.jobs[0].body.is_none());
}

#[tokio::test]
async fn old_dead_letters_make_room() {
    let server = Server::start();
    let jobs = JobsConfig {
        max_dead: std::num::NonZeroU32::new(3).unwrap(),
        ..config()
    };
    let queue = open(&server.settings(), &jobs, &Shutdown::new()).unwrap();
    for _ in 0..5 {
        add(&queue).await;
        let claimed = claim_one(&queue).await;
        let outcome = JobOutcome::Dead {
            result: Bytes::new(),
            keep: Keep::No,
            reason: "x".to_owned(),
        };
        settle(&queue, &claimed.lease, outcome).await;
    }
    assert_eq!(queue.health().await.unwrap().n_dead, 3);
    assert_eq!(server.keys().len(), 1 + 3);
}

/// Every command of fifty claims, the scripts' own included, with ever more jobs behind them. Counted, not timed: what a
/// claim costs in time is for `make bench-peers` to tell.
#[tokio::test]
async fn a_claim_costs_the_same_however_many_jobs_wait() {
    let server = Server::start_with(&["--save".to_owned(), String::new()]);
    let patient = JobsConfig {
        lease: Duration::from_secs(3600),
        ..config()
    };
    let queue = open(&server.settings(), &patient, &Shutdown::new()).unwrap();
    let mut commands = Vec::new();
    for n in [1_000, 100_000] {
        server.run(&["FLUSHALL"]);
        let fill = "for i = 1, ARGV[1] do redis.call('ZADD', 'arq:queue', 1000 + i, 'job' .. i) redis.call('SET', 'arq:job:job' .. i, 'body') end";
        server.run(&["EVAL", fill, "0", &n.to_string()]);
        drop(queue.claim(some(10), NOW).await.unwrap());
        server.run(&["CONFIG", "RESETSTAT"]);
        for _ in 0..50 {
            assert_eq!(queue.claim(some(10), NOW).await.unwrap().len(), 10);
        }
        let stats = server.run(&["INFO", "commandstats"]);
        let stats: String = redis::from_redis_value(stats).unwrap();
        commands.push(calls_by_command(&stats));
    }
    assert_eq!(commands[0]["evalsha"], 50);
    assert_eq!(commands[0], commands[1]);
}

/// How often each command ran, by its name, of the answer to `INFO commandstats`. What is sent at times of its own, by
/// whoever listens and by this test, is left out.
fn calls_by_command(stats: &str) -> BTreeMap<String, u64> {
    stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap()))
        .filter(|(name, _)| {
            !["config|resetstat", "info", "ping", "subscribe"].contains(&name.as_str())
        })
        .map(|(name, calls)| (name, calls.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_job_costs_three_round_trips() {
    let server = Server::start();
    let queue = server.queue();
    // Connects, and has the scripts loaded.
    add(&*queue).await;
    drain(&*queue).await;
    server.run(&["CONFIG", "RESETSTAT"]);
    const N: usize = 100;
    for _ in 0..N {
        add(&*queue).await;
    }
    loop {
        let jobs = queue.claim(some(20), NOW).await.unwrap();
        if jobs.is_empty() {
            break;
        }
        let settlements: Vec<Settlement> = jobs
            .into_iter()
            .map(|job| Settlement {
                lease: job.lease,
                outcome: complete(HOUR),
            })
            .collect();
        queue.settle(&settlements).await.unwrap();
    }
    let stats: String = redis::from_redis_value(server.run(&["INFO", "commandstats"])).unwrap();
    let line = stats
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:calls="));
    let calls = line.and_then(|line| line.split(['=', ',']).nth(1)).unwrap();
    // One to enqueue each, five of claims and settlements, one that finds nothing.
    assert_eq!(calls.parse::<usize>().unwrap(), N + 5 + 5 + 1);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = Server::start();
    let queue = server.queue();
    for _ in 0..3 {
        add(&*queue).await;
        server.run(&["SCRIPT", "FLUSH"]);
        let claimed = claim_one(&*queue).await;
        server.run(&["SCRIPT", "FLUSH"]);
        settle(&*queue, &claimed.lease, complete(HOUR)).await;
    }
}

#[tokio::test]
async fn a_refusal_is_told_as_one() {
    let server = Server::start();
    server.run(&["SET", "arq:queue", "not a sorted set"]);
    let queue = server.queue();
    let error = queue.enqueue(&[job(&JobId::random())]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { message, .. } if message.contains("WRONGTYPE")),
        "{error}"
    );
}
