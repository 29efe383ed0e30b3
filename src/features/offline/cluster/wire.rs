//! What travels inside a plan: definitions as JSON, scans and schemas as DataFusion writes them, in one envelope.
//!
//! ```text
//! magic     who reads it: `terrarium.join`, `terrarium.score`
//! version   of Terrarium that wrote it; another one's is refused
//! spec      JSON
//! attached  what is no JSON: a physical plan, where the node reads files; a schema
//! schema    of the node's rows
//! ```

use std::fmt;

use arrow::datatypes::Schema;
use datafusion::error::{DataFusionError, Result};
use datafusion_proto::protobuf;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::pull::{Column, PullLatest};
use crate::features::definitions::{DataSource, Field, SourceKind, ValueType};
use crate::types::timestamp::Timestamp;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Grows with every change of what a spec means, also between versions.
const FORMAT: u32 = 1;

/// A node of a plan, encoded.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(string, tag = "1")]
    magic: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint32, tag = "3")]
    format: u32,
    #[prost(string, tag = "4")]
    spec: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) attached: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    schema: Vec<u8>,
}

impl Envelope {
    pub(crate) fn of(magic: &str, spec: &impl Serialize, schema: &Schema) -> Result<Self> {
        let schema = protobuf::Schema::try_from(schema)
            .map_err(|error| unfit(format!("a schema cannot be sent: {error}")))?;
        let spec = serde_json::to_string(spec);
        Ok(Self {
            magic: magic.to_owned(),
            version: VERSION.to_owned(),
            format: FORMAT,
            spec: spec.map_err(|error| unfit(format!("a plan cannot be sent: {error}")))?,
            attached: Vec::new(),
            schema: schema.encode_to_vec(),
        })
    }

    pub(crate) fn with_attached(self, attached: Vec<u8>) -> Self {
        Self { attached, ..self }
    }

    #[cfg(test)]
    pub(super) fn of_version(self, version: &str) -> Self {
        let version = version.to_owned();
        Self { version, ..self }
    }

    pub(crate) fn write(&self, buffer: &mut Vec<u8>) {
        buffer.extend(self.encode_to_vec());
    }

    /// `None` for what somebody else reads. Errors: it is of another version of Terrarium.
    pub(crate) fn read(magic: &str, bytes: &[u8]) -> Result<Option<Self>> {
        let Ok(envelope) = Self::decode(bytes) else {
            return Ok(None);
        };
        if envelope.magic != magic {
            return Ok(None);
        }
        if (envelope.version.as_str(), envelope.format) != (VERSION, FORMAT) {
            return Err(unfit(format!(
                "the plan is of Terrarium {} (format {}), and this process is Terrarium {VERSION} (format {FORMAT}); \
                 run the same version everywhere",
                envelope.version, envelope.format
            )));
        }
        Ok(Some(envelope))
    }

    pub(crate) fn spec<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.spec)
            .map_err(|error| unfit(format!("the plan cannot be read: {error}")))
    }

    pub(crate) fn schema(&self) -> Result<Schema> {
        let decoded = protobuf::Schema::decode(self.schema.as_slice());
        let decoded =
            decoded.map_err(|error| unfit(format!("a schema cannot be read: {error}")))?;
        Schema::try_from(&decoded)
            .map_err(|error| unfit(format!("a schema cannot be read: {error}")))
    }
}

pub(super) fn unfit(problem: String) -> DataFusionError {
    DataFusionError::Plan(problem)
}

/// A view's rows of a range.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct View {
    view: String,
    source: String,
    uri: String,
    s3_endpoint: Option<String>,
    timestamp_field: String,
    created_timestamp_column: String,
    keys: Vec<ViewColumn>,
    features: Vec<ViewColumn>,
    /// Microseconds, both included.
    range: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct ViewColumn {
    /// In the source.
    column: String,
    field: String,
    value_type: i32,
}

impl View {
    /// `None` for a source that is not a file.
    pub(super) fn of(pull: &PullLatest) -> Option<Self> {
        let SourceKind::File { uri, s3_endpoint } = &pull.source.kind else {
            return None;
        };
        Some(Self {
            view: pull.view.clone(),
            source: pull.source.name.clone(),
            uri: uri.clone(),
            s3_endpoint: s3_endpoint.clone(),
            timestamp_field: pull.source.timestamp_field.clone(),
            created_timestamp_column: pull.source.created_timestamp_column.clone(),
            keys: pull.keys.iter().map(ViewColumn::of).collect(),
            features: pull.features.iter().map(ViewColumn::of).collect(),
            range: (pull.start.as_micros(), pull.end.as_micros()),
        })
    }

    pub(super) fn pull(&self) -> Result<PullLatest> {
        let columns = |columns: &[ViewColumn]| -> Result<Vec<Column>> {
            columns.iter().map(ViewColumn::column).collect()
        };
        Ok(PullLatest {
            view: self.view.clone(),
            source: DataSource {
                name: self.source.clone(),
                kind: SourceKind::File {
                    uri: self.uri.clone(),
                    s3_endpoint: self.s3_endpoint.clone(),
                },
                // Columns are named already.
                field_mapping: Vec::new(),
                timestamp_field: self.timestamp_field.clone(),
                created_timestamp_column: self.created_timestamp_column.clone(),
            },
            keys: columns(&self.keys)?,
            features: columns(&self.features)?,
            start: Timestamp::from_micros(self.range.0),
            end: Timestamp::from_micros(self.range.1),
        })
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.view, self.uri)
    }
}

impl ViewColumn {
    fn of(column: &Column) -> Self {
        Self {
            column: column.name.clone(),
            field: column.field.name.clone(),
            value_type: column.field.value_type as i32,
        }
    }

    fn column(&self) -> Result<Column> {
        let value_type = ValueType::from_number(self.value_type).ok_or_else(|| {
            unfit(format!(
                "feature `{}` has the unknown type {}",
                self.field, self.value_type
            ))
        })?;
        Ok(Column {
            name: self.column.clone(),
            field: Field {
                name: self.field.clone(),
                value_type,
            },
        })
    }
}

/// An as-of join of two inputs: entity rows, and a view's rows with their place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct AsOf {
    /// Tells the columns of several joins apart.
    pub(super) number: usize,
    /// Columns of the entity rows: the view's keys in its types, and the time in microseconds.
    pub(super) keys: Vec<usize>,
    pub(super) time: usize,
    /// What of the entity rows is passed on.
    pub(super) kept: Vec<usize>,
    pub(super) has_created: bool,
    pub(super) needs_created: bool,
    pub(super) ttl: Option<i64>,
    /// For the entity rows of a partition that are being looked for, at most.
    pub(super) max_bytes: usize,
}
