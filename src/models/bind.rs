//! How a version gets what the layer above needs to serve it, without this layer knowing what that is.

use std::collections::BTreeMap;

use crate::error::Failure;
use crate::inference::Queueing;
use crate::types::names::ModelVersion;
use crate::types::signature::{Graph, Signature};

/// Makes the plan by which a version is served. Called once per load, before the warm-up, and again when
/// tags or features change; off the async workers.
pub trait Binder: Send + Sync + 'static {
    type Plan: Send + Sync + 'static;

    /// Errors keep the version from going live; its code and hint are shown as the reason.
    fn bind(&self, candidate: &Candidate<'_>) -> Result<Self::Plan, BindError>;

    /// How calls on the version wait for its engines, and what counts them.
    fn queueing(&self, _name: &str, _version: ModelVersion) -> Queueing {
        Queueing::default()
    }
}

/// A version that may go live.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub name: &'a str,
    pub version: ModelVersion,
    /// Of the version, else of the registered model.
    pub tags: &'a BTreeMap<String, String>,
    pub signature: &'a Signature,
    pub graph: &'a Graph,
}

/// Why a version cannot be served.
pub type BindError = Box<dyn Failure + Send + Sync>;
