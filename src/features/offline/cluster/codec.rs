//! How the nodes of a join travel. What is not one of them is left to the codec behind.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use super::as_of::AsOfExec;
use super::node::{Node, Spec};
use super::rows::RowsExec;
use super::wire::{Envelope, unfit};

const MAGIC: &str = "terrarium.join";

/// Of clients and schedulers.
#[derive(Debug, Default)]
pub(crate) struct LogicalCodec {
    behind: BallistaLogicalExtensionCodec,
}

impl LogicalExtensionCodec for LogicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[LogicalPlan],
        context: &TaskContext,
    ) -> Result<Extension> {
        let Some(envelope) = Envelope::read(MAGIC, bytes)? else {
            return self.behind.try_decode(bytes, inputs, context);
        };
        let (spec, schema) = (envelope.spec::<Spec>()?, Arc::new(envelope.schema()?));
        let node = Node::new(spec, envelope.attached, inputs.to_vec(), &schema)?;
        Ok(Extension {
            node: Arc::new(node),
        })
    }

    fn try_encode(&self, extension: &Extension, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(node) = extension.node.as_any().downcast_ref::<Node>() else {
            return self.behind.try_encode(extension, bytes);
        };
        let envelope = Envelope::of(MAGIC, &node.spec, node.schema.as_arrow())?;
        envelope.with_attached(node.scan.clone()).write(bytes);
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

/// Of schedulers and executors.
#[derive(Debug, Default)]
pub(crate) struct PhysicalCodec {
    behind: BallistaPhysicalExtensionCodec,
}

impl PhysicalExtensionCodec for PhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(envelope) = Envelope::read(MAGIC, bytes)? else {
            return self.behind.try_decode(bytes, inputs, context, converter);
        };
        match (envelope.spec::<Spec>()?, inputs) {
            (Spec::Rows(rows), [scan]) => Ok(Arc::new(RowsExec::try_new(rows, Arc::clone(scan))?)),
            (Spec::AsOf(spec), [entities, rows]) => {
                let (entities, rows) = (Arc::clone(entities), Arc::clone(rows));
                Ok(Arc::new(AsOfExec::try_new(spec, entities, rows)?))
            }
            (spec, inputs) => Err(unfit(format!("{} inputs for {spec:?}", inputs.len()))),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let spec = if let Some(rows) = node.downcast_ref::<RowsExec>() {
            Spec::Rows(rows.rows.clone())
        } else if let Some(as_of) = node.downcast_ref::<AsOfExec>() {
            Spec::AsOf(as_of.spec.clone())
        } else {
            return self.behind.try_encode(node, bytes, converter);
        };
        Envelope::of(MAGIC, &spec, &node.schema())?.write(bytes);
        Ok(())
    }
}
