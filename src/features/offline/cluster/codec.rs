//! How nodes travel: as envelopes of whoever made them. What is nobody's here is left to Ballista's codecs.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use super::as_of::AsOfExec;
use super::node::{Node, Spec};
use super::rows::RowsExec;
use super::wire::{Envelope, unfit};

/// Nodes that travel in envelopes of one kind.
pub(crate) trait Nodes: Debug + Send + Sync {
    /// What marks their envelopes.
    fn magic(&self) -> &'static str;

    fn logical(
        &self,
        envelope: Envelope,
        inputs: &[LogicalPlan],
    ) -> Result<Arc<dyn UserDefinedLogicalNode>>;

    fn physical(
        &self,
        envelope: &Envelope,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>>;

    /// `None` for somebody else's node.
    fn of_logical(&self, node: &dyn UserDefinedLogicalNode) -> Result<Option<Envelope>>;

    /// `None` for somebody else's node.
    fn of_physical(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Envelope>>;
}

/// Those of a join.
#[derive(Debug)]
struct JoinNodes;

impl Nodes for JoinNodes {
    fn magic(&self) -> &'static str {
        "terrarium.join"
    }

    fn logical(
        &self,
        envelope: Envelope,
        inputs: &[LogicalPlan],
    ) -> Result<Arc<dyn UserDefinedLogicalNode>> {
        let (spec, schema) = (envelope.spec::<Spec>()?, Arc::new(envelope.schema()?));
        let node = Node::new(spec, envelope.attached, inputs.to_vec(), &schema)?;
        Ok(Arc::new(node))
    }

    fn physical(
        &self,
        envelope: &Envelope,
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (envelope.spec::<Spec>()?, inputs) {
            (Spec::Rows(rows), [scan]) => Ok(Arc::new(RowsExec::try_new(rows, Arc::clone(scan))?)),
            (Spec::AsOf(spec), [entities, rows]) => {
                let (entities, rows) = (Arc::clone(entities), Arc::clone(rows));
                Ok(Arc::new(AsOfExec::try_new(spec, entities, rows)?))
            }
            (spec, inputs) => Err(unfit(format!("{} inputs for {spec:?}", inputs.len()))),
        }
    }

    fn of_logical(&self, node: &dyn UserDefinedLogicalNode) -> Result<Option<Envelope>> {
        let Some(node) = node.as_any().downcast_ref::<Node>() else {
            return Ok(None);
        };
        let envelope = Envelope::of(self.magic(), &node.spec, node.schema.as_arrow())?;
        Ok(Some(envelope.with_attached(node.scan.clone())))
    }

    fn of_physical(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Envelope>> {
        let spec = if let Some(rows) = node.downcast_ref::<RowsExec>() {
            Spec::Rows(rows.rows.clone())
        } else if let Some(as_of) = node.downcast_ref::<AsOfExec>() {
            Spec::AsOf(as_of.spec.clone())
        } else {
            return Ok(None);
        };
        Envelope::of(self.magic(), &spec, &node.schema()).map(Some)
    }
}

/// All whose nodes are known; those of joins always.
#[derive(Debug, Clone)]
struct Known(Vec<Arc<dyn Nodes>>);

impl Default for Known {
    fn default() -> Self {
        Self(vec![Arc::new(JoinNodes)])
    }
}

impl Known {
    fn and(nodes: impl Nodes + 'static) -> Self {
        Self(vec![Arc::new(JoinNodes), Arc::new(nodes)])
    }

    /// Whose bytes these are; `None` for somebody else's. Errors: they are of another version of Terrarium.
    fn read(&self, bytes: &[u8]) -> Result<Option<(&dyn Nodes, Envelope)>> {
        for nodes in &self.0 {
            if let Some(envelope) = Envelope::read(nodes.magic(), bytes)? {
                return Ok(Some((nodes.as_ref(), envelope)));
            }
        }
        Ok(None)
    }

    /// Whether somebody here knows the node: then it is in `bytes`.
    fn write(
        &self,
        bytes: &mut Vec<u8>,
        envelope_of: impl Fn(&dyn Nodes) -> Result<Option<Envelope>>,
    ) -> Result<bool> {
        for nodes in &self.0 {
            if let Some(envelope) = envelope_of(nodes.as_ref())? {
                envelope.write(bytes);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Of clients and schedulers.
#[derive(Debug, Default)]
pub(crate) struct LogicalCodec {
    known: Known,
    behind: BallistaLogicalExtensionCodec,
}

impl LogicalCodec {
    /// Of joins and what is done with them.
    pub(crate) fn with(nodes: impl Nodes + 'static) -> Self {
        Self {
            known: Known::and(nodes),
            behind: BallistaLogicalExtensionCodec::default(),
        }
    }
}

impl LogicalExtensionCodec for LogicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[LogicalPlan],
        context: &TaskContext,
    ) -> Result<Extension> {
        let Some((nodes, envelope)) = self.known.read(bytes)? else {
            return self.behind.try_decode(bytes, inputs, context);
        };
        let node = nodes.logical(envelope, inputs)?;
        Ok(Extension { node })
    }

    fn try_encode(&self, extension: &Extension, bytes: &mut Vec<u8>) -> Result<()> {
        let node = extension.node.as_ref();
        match self.known.write(bytes, |nodes| nodes.of_logical(node))? {
            true => Ok(()),
            false => self.behind.try_encode(extension, bytes),
        }
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
    known: Known,
    behind: BallistaPhysicalExtensionCodec,
}

impl PhysicalCodec {
    /// Of joins and what is done with them.
    pub(crate) fn with(nodes: impl Nodes + 'static) -> Self {
        Self {
            known: Known::and(nodes),
            behind: BallistaPhysicalExtensionCodec::default(),
        }
    }
}

impl PhysicalExtensionCodec for PhysicalCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match self.known.read(bytes)? {
            Some((nodes, envelope)) => nodes.physical(&envelope, inputs),
            None => self.behind.try_decode(bytes, inputs, context, converter),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        match self.known.write(bytes, |nodes| nodes.of_physical(&node))? {
            true => Ok(()),
            false => self.behind.try_encode(node, bytes, converter),
        }
    }
}
