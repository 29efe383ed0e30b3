//! End to end against the servers that `dev/services up` started; needs the feature `test-services`.
//!
//! Each test has a database of its own in the shared Redis (`database`), so that they run beside each other. A test that
//! stops Redis starts one for itself (`redis_server`).
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests run what they need, and they are not the product"
)]

#[cfg(feature = "cluster")]
mod cluster;
mod database;
mod demo;
mod feast_http;
#[path = "../it/feast_replay.rs"]
mod feast_replay;
mod outage;
mod predict;
mod proxy;
#[path = "../it/recorded.rs"]
mod recorded;
mod redis_server;
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "shared with tests/it, which uses all of it")]
mod support;
mod verify;
