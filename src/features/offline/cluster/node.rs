//! The nodes of a logical plan that only Terrarium knows.
//!
//! ```text
//! InOrder              the rows of all partitions, by row number
//!   AsOf               an as-of join; columns of the entity rows, then the view's features and their event timestamp
//!     Rows::Staged     entity rows: a file in the staging place
//!     Rows::View       a view's rows of a range, in pieces
//! ```
//! A leaf has its files with it, as they were when the client looked, so that the scheduler reads no source.
//! Not here: how they are run (`plan`), how they travel (`codec`).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use serde::{Deserialize, Serialize};

use super::wire::{AsOf, View, unfit};

/// What a node does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Spec {
    Rows(Rows),
    AsOf(AsOf),
    InOrder,
    /// The same of rows that are in order within their partitions.
    Merged,
}

/// Whose rows a leaf reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Rows {
    /// Those of the file at this URL, as they are.
    Staged(String),
    /// Those of a view, as `Canonical` makes them, with their place in the source.
    View(View),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) spec: Spec,
    /// Of a leaf: the scan, encoded.
    pub(super) scan: Vec<u8>,
    pub(super) inputs: Vec<LogicalPlan>,
    pub(super) schema: DFSchemaRef,
}

impl Node {
    pub(super) fn new(
        spec: Spec,
        scan: Vec<u8>,
        inputs: Vec<LogicalPlan>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let schema = Arc::new(DFSchema::try_from(Arc::clone(schema))?);
        Ok(Self {
            spec,
            scan,
            inputs,
            schema,
        })
    }

    pub(super) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: Arc::new(self),
        })
    }
}

impl UserDefinedLogicalNodeCore for Node {
    fn name(&self) -> &str {
        match &self.spec {
            Spec::Rows(Rows::Staged(_)) => "StagedRows",
            Spec::Rows(Rows::View(_)) => "ViewRows",
            Spec::AsOf(_) => "AsOf",
            Spec::InOrder => "InOrder",
            Spec::Merged => "Merged",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spec {
            Spec::Rows(Rows::Staged(url)) => write!(f, "StagedRows: {url}"),
            Spec::Rows(Rows::View(view)) => write!(f, "ViewRows: {view}"),
            Spec::AsOf(as_of) => write!(f, "AsOf: ttl={:?}", as_of.ttl),
            Spec::InOrder | Spec::Merged => f.write_str(self.name()),
        }
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if inputs.len() != self.inputs.len() {
            return Err(unfit(format!(
                "{} inputs for {}",
                inputs.len(),
                self.name()
            )));
        }
        Ok(Self {
            inputs,
            ..self.clone()
        })
    }
}

/// Nodes have no order; DataFusion asks for one.
impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}
