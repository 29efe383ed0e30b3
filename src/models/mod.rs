//! Which models are served: `ModelRef` to a loaded version, from a lock-free snapshot.
//!
//! `watcher` lists the registry, loads every wanted version (`artifact` → `inference` → `Binder` → `warm_up`) beside what
//! serves and publishes the outcome, failures included; `ModelCatalog::resolve` only reads it.
//! One broken model stops only itself.
//! Not here: what a serving plan is (`predict` implements `Binder`), how a graph runs (`inference`).

pub mod artifact;
mod bind;
mod bring_up;
mod catalog;
mod config;
mod error;
mod index;
mod load_now;
mod policy;
pub mod register;
pub mod registry;
#[cfg(test)]
pub(crate) mod testing;
mod thread;
pub mod traffic;
mod warm_up;
mod watcher;

pub use bind::{BindError, Binder, Candidate, Verdict};
pub use catalog::{
    Behind, Gate, ModelCatalog, ModelStatus, Readiness, RegistryFailure, RegistryStatus, Resolved,
    ServedVersion, Serving, VersionState, VersionStatus,
};
pub use config::{Aliases, Config, Ready, Versions, Webhook};
pub use error::{Error, LoadError};
pub use index::Entry;
pub use policy::{Choice, Policy};
pub use watcher::{Checked, Handle, Loader, Settings, Watcher};
