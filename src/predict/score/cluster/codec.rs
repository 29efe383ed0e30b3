//! How the node travels. What is not it is left to the codecs of joins.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, TableReference};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf;
use prost::Message;

use super::Spec;
use super::exec::ScoreExec;
use super::node::Score;
use super::task::Here;
use crate::features::cluster::{Envelope, LogicalCodec, PhysicalCodec};

const MAGIC: &str = "terrarium.score";

fn envelope(spec: &Spec, entities: &Schema, schema: &Schema) -> Result<Envelope> {
    let entities = protobuf::Schema::try_from(entities);
    let entities = entities.map_err(|error| DataFusionError::Plan(error.to_string()))?;
    Ok(Envelope::of(MAGIC, spec, schema)?.with_attached(entities.encode_to_vec()))
}

fn entities(envelope: &Envelope) -> Result<SchemaRef> {
    let decoded = protobuf::Schema::decode(envelope.attached.as_slice());
    let decoded = decoded.map_err(|error| DataFusionError::Plan(error.to_string()))?;
    let schema = Schema::try_from(&decoded);
    Ok(Arc::new(schema.map_err(|error| {
        DataFusionError::Plan(error.to_string())
    })?))
}

/// Of clients and schedulers.
#[derive(Debug, Default)]
pub(crate) struct ScoreLogicalCodec {
    behind: LogicalCodec,
}

impl LogicalExtensionCodec for ScoreLogicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[LogicalPlan],
        context: &TaskContext,
    ) -> Result<Extension> {
        let (Some(envelope), [input]) = (Envelope::read(MAGIC, bytes)?, inputs) else {
            return self.behind.try_decode(bytes, inputs, context);
        };
        let score = Score {
            spec: envelope.spec()?,
            entities: entities(&envelope)?,
            input: input.clone(),
            schema: Arc::new(DFSchema::try_from(envelope.schema()?)?),
        };
        Ok(Extension {
            node: Arc::new(score),
        })
    }

    fn try_encode(&self, extension: &Extension, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(score) = extension.node.as_any().downcast_ref::<Score>() else {
            return self.behind.try_encode(extension, bytes);
        };
        envelope(&score.spec, &score.entities, score.schema.as_arrow())?.write(bytes);
        Ok(())
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        table: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        self.behind
            .try_decode_table_provider(bytes, table, schema, context)
    }

    fn try_encode_table_provider(
        &self,
        table: &TableReference,
        node: Arc<dyn TableProvider>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        self.behind.try_encode_table_provider(table, node, bytes)
    }

    fn try_decode_file_format(
        &self,
        bytes: &[u8],
        context: &TaskContext,
    ) -> Result<Arc<dyn FileFormatFactory>> {
        self.behind.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(
        &self,
        bytes: &mut Vec<u8>,
        node: Arc<dyn FileFormatFactory>,
    ) -> Result<()> {
        self.behind.try_encode_file_format(bytes, node)
    }
}

/// Of schedulers, which run nothing, and executors.
#[derive(Debug, Default)]
pub(crate) struct ScorePhysicalCodec {
    behind: PhysicalCodec,
    here: Option<Here>,
}

impl ScorePhysicalCodec {
    pub(crate) fn of_executor(here: Here) -> Self {
        Self {
            behind: PhysicalCodec::default(),
            here: Some(here),
        }
    }
}

impl PhysicalExtensionCodec for ScorePhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(envelope), [input]) = (Envelope::read(MAGIC, bytes)?, inputs) else {
            return self.behind.try_decode(bytes, inputs, context, converter);
        };
        Ok(Arc::new(ScoreExec::new(
            envelope.spec()?,
            entities(&envelope)?,
            Arc::clone(input),
            Arc::new(envelope.schema()?),
            self.here.clone(),
        )))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(exec) = node.downcast_ref::<ScoreExec>() else {
            return self.behind.try_encode(node, bytes, converter);
        };
        envelope(&exec.spec, &exec.entities, &exec.schema())?.write(bytes);
        Ok(())
    }
}
