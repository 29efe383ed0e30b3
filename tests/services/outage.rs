//! Redis goes away in every way that it can, and comes back: what callers see meanwhile, and that nobody has to help.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::database::Database;
use crate::demo::Demo;
use crate::redis_server::RedisServer;
use crate::support::Server;

/// `features.timeout` where Redis hangs.
const TIMEOUT: Duration = Duration::from_millis(300);

/// `features.timeout` where nothing may fail, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A refusal must come long before this; the rest is for a machine under load.
const PROMPT: Duration = Duration::from_secs(2);

/// Longest until a Redis that is back is used again.
const RECOVERY: Duration = Duration::from_secs(10);

const BODY: &str = r#"{"entities": {"driver_id": 1001}, "inputs": {"trip_km": 3.2}}"#;

#[tokio::test]
async fn killed_connections_heal_without_a_failed_prediction() {
    let mut database = Database::open(12);
    let demo = Demo::load(&database.connection_string());
    let mut caller = Caller::of(demo, PATIENCE).await;
    caller.expect_answer().await;
    for _ in 0..5 {
        let n_connections = database.kill_clients();
        let n_loops = terrarium::workers::default_count().get() + 1;
        assert!(
            (1..=n_loops).contains(&n_connections),
            "{n_connections} connections for {n_loops} event loops"
        );
        caller.expect_answer().await;
    }
    // Also for those that are on their way at that moment, however far they have come.
    for n_turns in 0..40 {
        // The last kill may have come after them, and nobody survives two.
        caller.expect_answer().await;
        let calls = join_all((0..16).map(|_| caller.call()));
        let kill = async {
            for _ in 0..n_turns {
                tokio::task::yield_now().await;
            }
            database.kill_clients();
        };
        let (calls, ()) = futures::join!(calls, kill);
        for call in calls {
            assert_eq!(call.outcome(), (200, String::new()));
            caller.seen.push(call);
        }
    }
    caller.check_audit().await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_a_timeout_until_it_answers_again() {
    let redis = RedisServer::start();
    let mut caller = Caller::of(Demo::load(&redis.address()), TIMEOUT).await;
    caller.expect_answer().await;
    for _ in 0..2 {
        redis.freeze();
        for _ in 0..3 {
            let refusal = caller.expect_refusal(&["online_store_timeout"]).await;
            assert!(refusal.took >= TIMEOUT, "{:?}", refusal.took);
        }
        caller.expect_ready(503, "online_store_timeout").await;
        redis.thaw();
        caller.expect_answer().await;
        caller.expect_ready(200, "ready").await;
    }
    caller.check_audit().await;
}

#[tokio::test]
async fn under_load_a_redis_that_hangs_is_refused_at_once_and_used_within_a_second_of_its_return() {
    const CALLERS: usize = 16;
    let redis = RedisServer::start();
    let mut caller = Caller::of(Demo::load(&redis.address()), TIMEOUT).await;
    caller.expect_answer().await;
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let (freeze, thaw, end) = (at(0.5), at(5.5), at(8.0));
    let load = join_all((0..CALLERS).map(|_| async {
        let mut calls = Vec::new();
        let mut every = tokio::time::interval(Duration::from_millis(5));
        while Instant::now() < end {
            every.tick().await;
            calls.push((Instant::now(), caller.call().await));
        }
        calls
    }));
    let outage = async {
        tokio::time::sleep_until(freeze.into()).await;
        redis.freeze();
        tokio::time::sleep_until(thaw.into()).await;
        redis.thaw();
    };
    let (calls, ()) = futures::join!(load, outage);
    let calls: Vec<(Instant, Call)> = calls.into_iter().flatten().collect();

    let mut n_refused_at_once = 0;
    let mut n_waited = 0;
    for (began, call) in &calls {
        assert!(call.took < PROMPT, "{:?}: {}", call.took, call.problem);
        let (status, code) = call.outcome();
        match code.as_str() {
            "" => assert_eq!(status, 200, "{}", call.problem),
            "online_store_timeout" => n_waited += 1,
            "online_store_not_answering" => n_refused_at_once += 1,
            _ => panic!("{status}: {}", call.problem),
        }
        if code.is_empty() {
            let ended = *began + call.took;
            assert!(
                ended < freeze + TIMEOUT || ended > thaw,
                "nobody could answer it"
            );
        } else {
            assert_eq!(status, 503, "{}", call.problem);
            assert!(call.problem["hint"].is_string(), "{}", call.problem);
            let since_return = began.saturating_duration_since(thaw);
            assert!(
                since_return < Duration::from_secs(1),
                "{since_return:?} {code}"
            );
        }
    }
    // One request at a time waits, and those that were on their way when the hanging began.
    assert!(n_waited <= 2 * CALLERS + 5 * 4, "{n_waited}");
    assert!(
        n_refused_at_once > 20 * n_waited,
        "{n_refused_at_once} {n_waited}"
    );
}

#[tokio::test]
async fn a_redis_that_is_gone_is_unreachable_until_it_is_back() {
    let mut redis = RedisServer::start();
    let mut caller = Caller::of(Demo::load(&redis.address()), TIMEOUT).await;
    caller.expect_answer().await;
    for _ in 0..2 {
        redis.kill();
        for _ in 0..5 {
            caller.expect_refusal(&["online_store_unreachable"]).await;
        }
        caller.expect_ready(503, "online_store_unreachable").await;
        redis.restart();
        caller.expect_recovery(&["online_store_unreachable"]).await;
        caller.expect_ready(200, "ready").await;
    }
    caller.check_audit().await;
}

#[tokio::test]
async fn a_redis_that_hangs_while_it_is_dialled_is_refused_in_time_and_used_once_it_answers() {
    let mut redis = RedisServer::start();
    let mut caller = Caller::of(Demo::load(&redis.address()), TIMEOUT).await;
    let codes = [
        "online_store_timeout",
        "online_store_not_answering",
        "online_store_unreachable",
    ];
    redis.kill_clients();
    redis.freeze();
    let frozen = Instant::now();
    // Longer than a dial may take.
    while frozen.elapsed() < Duration::from_secs(3) {
        caller.expect_refusal(&codes).await;
    }
    redis.thaw();
    caller.expect_recovery(&codes).await;

    // The dial that nobody waits for any more must not be taken for the state of things.
    redis.kill_clients();
    redis.freeze();
    caller.expect_refusal(&codes).await;
    redis.kill();
    redis.restart();
    caller.expect_recovery(&codes).await;
    caller.check_audit().await;
}

/// The only caller of a server, who remembers what was answered.
struct Caller {
    server: Server,
    /// What the server serves.
    _demo: Demo,
    seen: Vec<Call>,
}

struct Call {
    status: u16,
    problem: Value,
    took: Duration,
}

impl Call {
    /// Status and error code.
    fn outcome(&self) -> (u16, String) {
        let code = self.problem["code"].as_str().unwrap_or_default();
        (self.status, code.to_owned())
    }
}

impl Caller {
    async fn of(demo: Demo, timeout: Duration) -> Self {
        let timeout = format!("features.timeout={}ms", timeout.as_millis());
        Self {
            server: demo.server(&[&timeout]).await,
            _demo: demo,
            seen: Vec::new(),
        }
    }

    async fn call(&self) -> Call {
        let started = Instant::now();
        let answer = self.server.predict("driver_ranking", BODY).await;
        Call {
            status: answer.status,
            problem: answer.json(),
            took: started.elapsed(),
        }
    }

    async fn expect_answer(&mut self) {
        let call = self.call().await;
        assert_eq!(call.outcome(), (200, String::new()), "{}", call.problem);
        self.seen.push(call);
    }

    /// 503 with one of `codes`, in time.
    async fn expect_refusal(&mut self, codes: &[&str]) -> &Call {
        let call = self.call().await;
        let (status, code) = call.outcome();
        assert!(
            status == 503 && codes.contains(&code.as_str()) && call.took < PROMPT,
            "{status} after {:?}: {}",
            call.took,
            call.problem
        );
        self.seen.push(call);
        self.seen.last().unwrap()
    }

    /// An answer, after as many refusals as it takes.
    async fn expect_recovery(&mut self, codes: &[&str]) {
        let back = Instant::now();
        let mut every = tokio::time::interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            if back.elapsed() >= RECOVERY {
                return self.expect_answer().await;
            }
            let call = self.call().await;
            let (status, code) = call.outcome();
            assert!(
                status == 200 || (status == 503 && codes.contains(&code.as_str())),
                "{}",
                call.problem
            );
            self.seen.push(call);
            if status == 200 {
                return;
            }
        }
    }

    async fn expect_ready(&self, status: u16, part: &str) {
        let started = Instant::now();
        let ready = self.server.get("/readyz").await;
        let text = ready.json().to_string();
        assert_eq!(ready.status, status, "{text}");
        assert!(text.contains(part), "{text}");
        assert!(started.elapsed() < PROMPT);
    }

    /// One event for each call, in order, that says what the caller was told.
    async fn check_audit(mut self) {
        self.server.stop().await;
        let events = self.server.events().await;
        assert_eq!(events.len(), self.seen.len());
        for (i, (event, call)) in events.iter().zip(&self.seen).enumerate() {
            assert_eq!(event["sequence"], i + 1);
            let wanted = match call.status {
                200 => (json!("ok"), Value::Null),
                _ => (json!("error"), call.problem["code"].clone()),
            };
            let told = (event["status"].clone(), event["error"]["code"].clone());
            assert_eq!(told, wanted, "{event}");
        }
    }
}
