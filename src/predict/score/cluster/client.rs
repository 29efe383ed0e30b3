//! A part as a job of the cluster: the plan is made here, tables are taken apart as they come.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Extension, LogicalPlan};
use futures::stream::StreamExt;

use super::super::calls::{Used, cut};
use super::super::file::{Ready, Scorer, Table};
use super::super::fingerprint;
use super::super::layout::Layout;
use super::super::source::Part;
use super::super::summary::Counts;
use super::super::{Audited, Error};
use super::Spec;
use super::codec::ScoreNodes;
use super::node::Score;
use crate::features::cluster::{LogicalCodec, Then, plain_type};
use crate::features::historical::{self, Entities};
use crate::features::retrieve::Naming;

impl Scorer<'_> {
    /// `None` where the part is scored on this machine.
    pub(in super::super) fn on_cluster(
        &self,
        part: &Part,
        entities: &Entities,
        used: Used,
        notes: &HashMap<String, String>,
    ) -> Result<Option<Ready>, Error> {
        let joined = self.joined().filter(|_| used == Used::Offline);
        let Some((store, _, wanted)) = joined.filter(|_| self.request.audited == Audited::Files)
        else {
            return Ok(None);
        };
        let in_part = |error| Error::Rows {
            file: part.file(),
            error: Box::new(error),
        };
        let n_entity_columns = entities.schema().fields().len();
        let assembler = store.assembler(wanted.clone(), entities.schema());
        let assembled = Arc::clone(assembler.map_err(in_part)?.schema());
        let version = &self.model.version;
        let layout = Layout::of(
            version,
            &assembled,
            n_entity_columns,
            self.shown(),
            notes.clone(),
        )?;
        let spec = Spec {
            model: version.name.to_string(),
            version: version.version.to_string(),
            fingerprint: fingerprint::of_version(&self.model),
            definitions: assembled.metadata().get("terrarium.definitions").cloned(),
            with_features: self.request.with_features,
            rows_per_call: self.rows_per_call,
        };
        let request = historical::Request {
            wanted,
            naming: Naming::Full,
            entities: entities.clone(),
            filter_by_created_timestamp: false,
        };
        let then = then(spec, plain(entities.schema()), travelling(&layout.schema));
        let codec = Arc::new(LogicalCodec::with(ScoreNodes::default()));
        let Some(rows) = store.on_cluster(&request, then, codec).map_err(in_part)? else {
            return Ok(None);
        };
        let schema = Arc::clone(&layout.schema);
        // In the batches that are written on one machine, so that the file is the same one.
        let written = cut(rows.batches, self.rows_per_task());
        let tables = written.map(move |rows| table(&rows?.batch, &schema));
        Ok(Some(Ready {
            schema: layout.schema,
            tables: tables.boxed(),
            watch: Some(rows.watch),
        }))
    }
}

fn then(spec: Spec, entities: SchemaRef, schema: Schema) -> Then {
    Box::new(move |input| {
        let score = Score {
            spec,
            entities,
            input,
            schema: Arc::new(DFSchema::try_from(schema)?),
        };
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(score),
        }))
    })
}

/// The entity columns as executors see them.
fn plain(entities: &Schema) -> SchemaRef {
    let fields = entities.fields().iter();
    let fields = fields.map(|field| Field::new(field.name(), plain_type(field.data_type()), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Row numbers, the table under names that cannot collide, counts.
fn travelling(table: &Schema) -> Schema {
    let mut fields = vec![Field::new("row", DataType::UInt64, false)];
    for (i, field) in table.fields().iter().enumerate() {
        fields.push(Field::new(
            format!("table_{i}"),
            plain_type(field.data_type()),
            true,
        ));
    }
    fields.push(Field::new("counts", DataType::Utf8, true));
    Schema::new(fields)
}

/// Rows without their numbers, as the result has them.
fn table(batch: &RecordBatch, schema: &SchemaRef) -> Result<Table, Error> {
    let mut counts = Counts::default();
    let n_columns = schema.fields().len();
    let mut columns = Vec::with_capacity(n_columns);
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        columns.push(cast(column, field.data_type()).map_err(Error::Arrow)?);
    }
    for text in batch.column(n_columns).as_string::<i32>().iter().flatten() {
        let of_call: Counts = serde_json::from_str(text)
            .map_err(|error| Error::Arrow(arrow::error::ArrowError::ExternalError(error.into())))?;
        counts.extend(of_call);
    }
    let rows = RecordBatch::try_new(Arc::clone(schema), columns);
    Ok(Table {
        rows: rows.map_err(Error::Arrow)?,
        counts,
    })
}
