//! Batch scoring on a cluster: features are joined and rows are scored there; what comes back is the table.
//!
//! ```text
//! client      entity rows -> joins of all views -> Score -> rows in order         client, node
//! scheduler   rows of a call come together: a shuffle by call, in order           node
//! executors   features, calls, table: with models and definitions of their own    task, exec
//! client      tables as they come; the file is written, audited and named here    client
//! ```
//! Invariants:
//! - a call has the rows that it has on one machine, so a row gets the same bits;
//! - the plan names version and definitions by what they are; an executor that has others refuses.
//!
//! Not here: joins (`features`), which calls are made and how (`calls`), what is left on this machine: rows whose features are
//! given, online or none, and audit events of calls.

mod client;
mod codec;
mod exec;
mod node;
mod task;

pub(crate) use self::codec::ScoreNodes;
pub(crate) use self::node::ScorePlanner;
pub(crate) use self::task::Here;

use serde::{Deserialize, Serialize};

/// Who scores, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Spec {
    model: String,
    version: String,
    /// Of the version (`fingerprint::of_version`).
    fingerprint: String,
    /// Of its features.
    definitions: Option<String>,
    with_features: bool,
    rows_per_call: usize,
}
