//! How a version gets what the layer above needs to serve it, without this layer knowing what that is.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{self, BoxFuture, FutureExt};

use super::catalog::ServedVersion;
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

    /// Runs recent real requests on a version that is loaded, before any name moves to it. Nothing that fails there keeps it
    /// from going live.
    fn warm_up<'a>(&'a self, _version: &'a ServedVersion<Self::Plan>) -> BoxFuture<'a, ()> {
        future::ready(()).boxed()
    }

    /// Whether the model's plain name moves to a newer version only once that was judged.
    fn is_gated(&self, _name: &str) -> bool {
        false
    }

    /// Judges a newer version that is loaded, before the plain name moves to it from the version `served`.
    fn judge(
        &self,
        _candidate: Arc<ServedVersion<Self::Plan>>,
        _served: ModelVersion,
    ) -> BoxFuture<'static, Verdict> {
        future::ready(Verdict::Passed("there is no gate".to_owned())).boxed()
    }
}

/// What came of judging a version.
#[derive(Debug)]
pub enum Verdict {
    /// The name may move; what was found, in a sentence.
    Passed(String),
    /// The name may move; why there was nothing to judge by, in a sentence.
    Unjudged(String),
    /// The version stays out, until the name is pointed to it anew or its files change.
    Refused(BindError),
    /// It could not be judged, and stays out until it could be.
    Failed(BindError),
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
