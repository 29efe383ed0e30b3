//! How the node travels.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf;
use prost::Message;

use super::Spec;
use super::exec::ScoreExec;
use super::node::Score;
use super::task::Here;
use crate::features::cluster::{Envelope, Nodes};

/// Of clients and of schedulers, which run nothing, and of executors.
#[derive(Debug, Default)]
pub(crate) struct ScoreNodes {
    here: Option<Here>,
}

impl ScoreNodes {
    pub(crate) fn of_executor(here: Here) -> Self {
        Self { here: Some(here) }
    }

    fn envelope(&self, spec: &Spec, entities: &Schema, schema: &Schema) -> Result<Envelope> {
        let entities = protobuf::Schema::try_from(entities);
        let entities = entities.map_err(|error| DataFusionError::Plan(error.to_string()))?;
        let envelope = Envelope::of(self.magic(), spec, schema)?;
        Ok(envelope.with_attached(entities.encode_to_vec()))
    }
}

fn entities(envelope: &Envelope) -> Result<SchemaRef> {
    let decoded = protobuf::Schema::decode(envelope.attached.as_slice());
    let decoded = decoded.map_err(|error| DataFusionError::Plan(error.to_string()))?;
    let schema = Schema::try_from(&decoded);
    Ok(Arc::new(schema.map_err(|error| {
        DataFusionError::Plan(error.to_string())
    })?))
}

/// The rows that are scored.
fn only<T: Clone>(inputs: &[T]) -> Result<T> {
    match inputs {
        [input] => Ok(input.clone()),
        _ => Err(DataFusionError::Plan(format!(
            "Score has one input, and the plan {}",
            inputs.len()
        ))),
    }
}

impl Nodes for ScoreNodes {
    fn magic(&self) -> &'static str {
        "terrarium.score"
    }

    fn logical(
        &self,
        envelope: Envelope,
        inputs: &[LogicalPlan],
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        Ok(Arc::new(Score {
            spec: envelope.spec()?,
            entities: entities(&envelope)?,
            input: only(inputs)?,
            schema: Arc::new(DFSchema::try_from(envelope.schema()?)?),
        }))
    }

    fn physical(
        &self,
        envelope: &Envelope,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(ScoreExec::new(
            envelope.spec()?,
            entities(envelope)?,
            only(inputs)?,
            Arc::new(envelope.schema()?),
            self.here.clone(),
        )))
    }

    fn of_logical(&self, node: &dyn UserDefinedLogicalNode) -> Result<Option<Envelope>> {
        let Some(score) = node.as_any().downcast_ref::<Score>() else {
            return Ok(None);
        };
        self.envelope(&score.spec, &score.entities, score.schema.as_arrow())
            .map(Some)
    }

    fn of_physical(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Envelope>> {
        let Some(exec) = node.downcast_ref::<ScoreExec>() else {
            return Ok(None);
        };
        self.envelope(&exec.spec, &exec.entities, &exec.schema())
            .map(Some)
    }
}
