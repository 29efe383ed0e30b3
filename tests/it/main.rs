//! Integration tests: one binary, one module per surface.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests run what they need and fail where they stand"
)]

mod architecture;
mod audit;
mod audit_query;
mod cli;
mod docs;
mod feast_grpc;
mod feast_http;
mod feast_replay;
mod fuzz;
mod gate;
mod going_live;
mod historical;
mod http_audit;
mod jobs;
mod killed;
mod mlflow_scoring;
mod oip;
mod oip_grpc;
mod on_demand;
mod optional_inputs;
mod predict;
mod recorded;
mod rollout;
mod score;
mod service;
mod stalled_redis;
mod support;
mod tensors;
mod verify;
