//! The queue in Redis: the contract, arq's layout and arq's weaknesses. Each test starts the servers that it needs.

#[cfg(feature = "test-services")]
mod arq;
#[cfg(feature = "test-services")]
mod deployments;
#[cfg(feature = "test-services")]
mod outage;
#[cfg(feature = "test-services")]
mod server;

use super::super::contract::{NOW, config, some};
use super::*;

#[tokio::test]
async fn a_queue_whose_server_is_down_opens_and_its_calls_fail_at_once() {
    // A port that nobody listens on, because its listener is closed again.
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let redis = Config {
        url: format!("redis://127.0.0.1:{port}/0"),
        ..Config::default()
    };
    let queue = open(&redis, &config(), &Shutdown::new()).unwrap();
    assert!(queue.describe().contains(&format!("127.0.0.1:{port}")));
    let started = std::time::Instant::now();
    for _ in 0..20 {
        let error = queue.claim(some(1), NOW).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_no_more_than_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let redis = Config {
        url: format!("redis://127.0.0.1:{port}/0"),
        timeout: Duration::from_millis(80),
        ..Config::default()
    };
    let queue = open(&redis, &config(), &Shutdown::new()).unwrap();
    let error = queue.health().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[test]
fn large_calls_are_cut() {
    let sizes = |items: &[usize]| -> Vec<usize> {
        let chunks = chunks(items, |item| *item);
        chunks.iter().map(|chunk| chunk.len()).collect()
    };
    assert!(sizes(&[]).is_empty());
    assert_eq!(sizes(&[1; 300]), [256, 44]);
    assert_eq!(
        sizes(&[6 << 20, 1 << 20, 6 << 20, 20 << 20, 1]),
        [2, 1, 1, 1]
    );
}
