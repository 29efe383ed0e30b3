//! Which models are served: `ModelRef` to a loaded version, from a lock-free snapshot.
//!
//! `watcher` lists the registry, loads every wanted version (`artifact` → `inference` → `Binder` → `warm_up`) and
//! publishes the outcome, failures included; `ModelCatalog::resolve` only reads it.
//! One broken model stops only itself.
//! Not here: what a serving plan is (`predict` implements `Binder`), how a graph runs (`inference`).

pub mod artifact;
mod bind;
mod catalog;
mod config;
mod error;
pub mod register;
pub mod registry;
mod warm_up;
mod watcher;

pub use bind::{BindError, Binder, Candidate};
pub use catalog::{
    ModelCatalog, ModelStatus, Readiness, Resolved, ServedVersion, Serving, VersionState,
    VersionStatus,
};
pub use config::{Config, Ready, Versions};
pub use error::{Error, LoadError};
pub use watcher::{check_one, load_all, load_into, rebind};
