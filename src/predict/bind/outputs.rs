//! The names under which a model's outputs are answered.

use std::sync::Arc;

use crate::models::Candidate;
use crate::types::signature::Schema;

/// As in the signature where it states a name for each output, else as in the graph; in graph order.
pub(super) fn names(candidate: &Candidate<'_>) -> Vec<Arc<str>> {
    let graph: Vec<&str> = candidate
        .graph
        .outputs
        .iter()
        .map(|output| output.name.as_str())
        .collect();
    let signature = signature_names(candidate.signature.outputs.as_ref());
    let renames =
        signature.len() == graph.len() && !signature.iter().all(|name| graph.contains(name));
    let names = if renames { signature } else { graph };
    names.into_iter().map(Arc::from).collect()
}

/// As in the graph.
pub(super) fn graph_names(candidate: &Candidate<'_>) -> Vec<Arc<str>> {
    let outputs = candidate.graph.outputs.iter();
    outputs.map(|output| Arc::from(&*output.name)).collect()
}

fn signature_names(outputs: Option<&Schema>) -> Vec<&str> {
    match outputs {
        None => Vec::new(),
        Some(Schema::Columns(columns)) => columns
            .iter()
            .filter_map(|column| column.name.as_deref())
            .collect(),
        Some(Schema::Tensors(tensors)) => tensors
            .iter()
            .filter_map(|tensor| tensor.name.as_deref())
            .collect(),
    }
}
