//! MLflow's scoring protocol: a call typed by the model's signature as MLflow 3.17 types it. Pure: no I/O, no clock.
//!
//! * a column signature makes a table of everything: its columns are cast, then checked against the signature (`columns`);
//! * a tensor signature makes arrays of everything: cast, then their shapes checked (`tensors`);
//! * without a signature frames are tables and anything else is an array, of the types that the values have (`inferred`).
//!
//! A model that reads features takes its entity columns beside the columns of its signature.
//! Not here: bodies and answers (`http::mlflow`), the strict conversions of the product's own calls (`convert`).

mod columns;
mod error;
mod inferred;
mod nested;
mod number;
mod params;
mod tensors;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::value::RawValue;

pub use error::Error;

use self::columns::ColumnSignature;
use self::number::Dialect;
use self::tensors::TensorSignature;
use super::given::{Given, Values};
use super::plan::ServingPlan;
use crate::types::prediction::Layout;
use crate::types::request::{ColumnPlace, RequestColumn, RequestColumns};
use crate::types::scoring::{FrameSource, Payload, Scoring};
use crate::types::signature::{Graph, ParamSpec, Schema, Signature};

/// What a model's signature says to a scoring call.
#[derive(Debug, Default)]
pub(super) struct Scorer {
    signature: Typing,
    params: Option<Vec<ParamSpec>>,
}

#[derive(Debug, Default)]
enum Typing {
    Columns(ColumnSignature),
    Tensors(TensorSignature),
    #[default]
    Inferred,
}

impl Scorer {
    pub(super) fn new(signature: &Signature, graph: &Graph) -> Self {
        Self {
            signature: match &signature.inputs {
                Some(Schema::Columns(columns)) => Typing::Columns(ColumnSignature::new(columns)),
                Some(Schema::Tensors(tensors)) => {
                    Typing::Tensors(TensorSignature::new(tensors, graph))
                }
                None => Typing::Inferred,
            },
            params: signature.params.clone(),
        }
    }

    /// Without a schema of parameters whatever is given is ignored.
    pub(super) fn check_params(&self, given: Option<&RawValue>) -> Result<(), Error> {
        match (&self.params, given) {
            (Some(specs), Some(given)) => params::check(specs, given),
            (None, _) | (_, None) => Ok(()),
        }
    }

    pub(super) fn type_payload(
        &self,
        plan: &ServingPlan,
        scoring: &Scoring,
    ) -> Result<Given<'static>, Error> {
        let (values, layout) = match &self.signature {
            Typing::Columns(signature) => (columns(signature.rows(plan, scoring)?), Layout::Table),
            Typing::Tensors(_) if looks_features_up(plan, scoring) => {
                (columns(by_name(plan, scoring)?), Layout::Arrays)
            }
            Typing::Tensors(signature) => (signature.tensors(plan, scoring)?, Layout::Arrays),
            Typing::Inferred => {
                let layout = match scoring.payload {
                    Payload::Frame(_) => Layout::Table,
                    Payload::Named { .. } | Payload::Array(_) | Payload::Other(_) => Layout::Arrays,
                };
                let values = if looks_features_up(plan, scoring) {
                    columns(by_name(plan, scoring)?)
                } else {
                    inferred::tensors(plan, scoring)?
                };
                (values, layout)
            }
        };
        Ok(Given { values, layout })
    }
}

fn columns(columns: RequestColumns) -> Values<'static> {
    Values::Columns(Cow::Owned(columns))
}

/// Arrays alone can be everything that a model takes, features included; with an entity column or request data they are
/// looked up.
fn looks_features_up(plan: &ServingPlan, scoring: &Scoring) -> bool {
    plan.asks_for_features(scoring.columns().iter().map(|column| &column.name))
}

/// The columns that the plan has a use for, as they are.
fn by_name(plan: &ServingPlan, scoring: &Scoring) -> Result<RequestColumns, Error> {
    let known = scoring.columns().iter();
    let known = known.filter(|column| plan.slots.contains_key(&column.name));
    let kept: Vec<RequestColumn> = known
        .map(|column| RequestColumn {
            place: ColumnPlace::Rows,
            ..column.clone()
        })
        .collect();
    columns::equally_long(kept, scoring)
}

/// How the values of a payload are cast.
fn dialect(scoring: &Scoring) -> Dialect {
    match &scoring.payload {
        Payload::Frame(frame) => match frame.source {
            FrameSource::Json => Dialect::Pandas {
                strict: scoring.strict,
            },
            FrameSource::Objects => Dialect::Numpy,
            FrameSource::Csv => Dialect::Csv,
        },
        Payload::Named { .. } | Payload::Array(_) | Payload::Other(_) => Dialect::Numpy,
    }
}

/// Names that are missing, and those that are there instead.
fn missing(missing: &[&str], extra: &[String]) -> Error {
    let mut reason = format!("Model is missing inputs {}.", error::python_list(missing));
    if !extra.is_empty() {
        reason.push_str(" Note that there were extra inputs: [");
        reason.push_str(&extra.join(", "));
        reason.push_str("].");
    }
    Error::Schema { reason }
}

/// `'name'`, as a name stands in a Python list.
fn quoted(name: &str) -> String {
    format!("'{name}'")
}

fn unnamed_signature() -> Error {
    Error::Value {
        reason: "Failed to parse input data. This model contains an un-named  model signature which expects a single n-dimensional array or a single value as input, however, an input of type <class 'dict'> was found.".to_owned(),
    }
}
