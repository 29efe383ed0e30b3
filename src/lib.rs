//! Terrarium: features and models, served.

pub mod audit;
pub mod cli;
pub mod config;
pub mod error;
pub mod features;
pub mod http;
pub mod inference;
pub mod models;
pub mod predict;
pub mod shutdown;
pub mod telemetry;
pub mod types;
