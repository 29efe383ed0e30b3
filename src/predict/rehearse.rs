//! What a request would give the engine, told without features and without an engine: for fuzzing.

use std::sync::Arc;

use super::assemble;
use super::error::Error;
use super::given::Values;
use super::plan::ServingPlan;
use crate::types::feature::FeatureRows;
use crate::types::prediction::Layout;
use crate::types::request::PredictRequest;
use crate::types::tensor::{NamedTensor, Tensor};

/// Inputs as the engine would get them.
#[derive(Debug)]
pub struct Rehearsed {
    /// In graph order, those that may be left out behind the others.
    pub inputs: Vec<NamedTensor>,
    pub n_rows: usize,
    pub layout: Layout,
}

impl ServingPlan {
    /// Everything that `Predictor` does with a request before the engine runs, of a plan that reads no features.
    pub fn rehearse(&self, request: &PredictRequest) -> Result<Rehearsed, Error> {
        let given = self.given(request)?;
        let layout = given.layout;
        let (inputs, n_rows) = match given.values {
            Values::Columns(columns) => {
                let call = self.fit(&columns)?;
                let mut features = FeatureRows::none(call.n_rows);
                let inputs = assemble::model_inputs(self, &call, &mut features)?;
                (inputs, call.n_rows)
            }
            Values::Tensors { inputs, n_rows } => (inputs, n_rows),
        };
        let required = self.tensors.iter().zip(inputs.required());
        let optional = inputs.optional().iter();
        let optional = optional.map(|(place, input)| (&self.optional[*place].tensor, input));
        Ok(Rehearsed {
            inputs: required
                .chain(optional)
                .map(|(planned, input)| NamedTensor {
                    name: planned.name.clone(),
                    tensor: Arc::new(Tensor::clone(input)),
                })
                .collect(),
            n_rows,
            layout,
        })
    }
}
