//! Integration tests: one binary, one module per surface.
#![expect(
    clippy::disallowed_methods,
    reason = "tests run what they need, and they are not the product"
)]

mod architecture;
mod audit;
mod cli;
mod predict;
mod service;
mod stalled_redis;
mod support;
