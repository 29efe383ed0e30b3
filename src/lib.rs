//! Terrarium: features and models, served. One binary reads online features from Feast's stores, runs MLflow ONNX
//! models on them, answers over HTTP, and leaves an audit record of every answer.
//!
//! # Words
//!
//! Feast's and MLflow's own words, spelled as upstream: feature view, feature service, entity, join key, entity key,
//! event timestamp, TTL; registered model, model version, alias, signature. Ours are only these:
//!
//! * **serving plan**: what a model version needs, compiled once when it loads: for each model input column where it
//!   comes from, its type, and what to do when it is missing or stale.
//! * **variant**: a model version that receives a share of a model's traffic.
//! * **spool**: the local durable log that audit events pass through on their way to the sink.
//!
//! # Life of a predict request
//!
//! ```text
//! predict::json::answer    bytes -> PredictRequest, checked as far as that goes without the model
//!   Predictor::predict     opens the audit record; closes it with the outcome, whatever that is
//!     models.resolve       name, alias or version -> a loaded version; memory only
//!     plan.given         what the protocol leaves to the signature is typed by it; most requests pass as they are
//!     plan.fit             request columns -> places of the serving plan; the last look-up by name
//!     features.online      entity keys -> feature values, statuses, event timestamps; one round trip
//!     assemble             features and inputs -> tensors; pure
//!     model.infer          a free engine, a run
//!   Prediction             outputs under the users' names
//! predict::json            Prediction -> bytes
//! ```
//!
//! # Layers
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | 5 wiring | `cli` `app` `config` | all below |
//! | 4 surfaces | `http` `grpc` | 3; of 2 only the public face; 1 |
//! | 3 use cases | `predict` `tasks` | sideways only `tasks` on `predict`; 2, never a backend file; 1 |
//! | 2 capabilities | `features` `models` `inference` `jobs` `audit` | 1; sideways only `models` on `inference` |
//! | 1 foundation | `types` `error` `telemetry` `shutdown` `storage` `workers` `memory` | each other, without cycles |
//!
//! `tests/it/architecture.rs` holds the code to this; `docs/architecture.md` says what each module leaves out.

pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod error;
pub mod features;
pub mod grpc;
pub mod http;
pub mod inference;
pub mod jobs;
pub mod memory;
pub mod models;
pub mod predict;
pub mod shutdown;
pub mod storage;
pub mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod types;
pub mod workers;
