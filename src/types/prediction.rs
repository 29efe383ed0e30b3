//! What a prediction came to: the answer and everything the audit record tells about it.

use std::sync::Arc;
use std::time::Duration;

use super::feature::FeatureRows;
use super::names::ModelVersion;
use super::tensor::Output;

/// The version that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedBy {
    pub name: Arc<str>,
    pub version: ModelVersion,
    /// The alias through which the version was reached, if by one.
    pub alias: Option<Arc<str>>,
}

/// How long each step took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    pub features: Duration,
    pub assemble: Duration,
    /// Waiting for a free engine.
    pub queue: Duration,
    pub engine: Duration,
    pub total: Duration,
}

/// One output of the model under the name that users know it by.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedOutput {
    pub name: Arc<str>,
    /// As many items as the request has rows, where the request gave columns.
    pub output: Output,
}

/// The rows that one version answered of a call that several versions shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantRows {
    pub served_by: ServedBy,
    /// In ascending order; never empty.
    pub rows: Vec<usize>,
}

/// What the inputs were to the model, which is how MLflow shapes its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Rows of a table.
    Table,
    /// Arrays by name.
    Arrays,
}

#[derive(Debug, Clone)]
pub struct Prediction {
    pub id: uuid::Uuid,
    /// The version that answered; of several the one that answered the most rows.
    pub served_by: ServedBy,
    /// Which rows each version answered, in ascending order of the aliases; empty where one version answered them all.
    pub variants: Vec<VariantRows>,
    pub n_rows: usize,
    pub layout: Layout,
    pub outputs: Vec<NamedOutput>,
    /// The values that the model was given.
    pub features: FeatureRows,
    pub timings: Timings,
    /// No engine ran: an earlier call had the same inputs.
    pub cached: bool,
}
