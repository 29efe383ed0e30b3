//! Feast's definitions as plain data: entity, feature view, feature service, data source.
//!
//! They are read from the registry and never change; names are Feast's own.
//! Not here: reading them (`registry`), what a request needs of them (`plan`).

use std::time::Duration;

use crate::types::timestamp::Timestamp;

/// The join key that Feast gives to views without entities.
pub const DUMMY_JOIN_KEY: &str = "__dummy_id";
/// The entity that views without entities refer to.
pub const DUMMY_ENTITY: &str = "__dummy";

/// `feast.types.ValueType.Enum`, with Feast's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ValueType {
    Invalid = 0,
    Bytes = 1,
    String = 2,
    Int32 = 3,
    Int64 = 4,
    Double = 5,
    Float = 6,
    Bool = 7,
    UnixTimestamp = 8,
    BytesList = 11,
    StringList = 12,
    Int32List = 13,
    Int64List = 14,
    DoubleList = 15,
    FloatList = 16,
    BoolList = 17,
    UnixTimestampList = 18,
    Null = 19,
    Map = 20,
    MapList = 21,
    BytesSet = 22,
    StringSet = 23,
    Int32Set = 24,
    Int64Set = 25,
    DoubleSet = 26,
    FloatSet = 27,
    BoolSet = 28,
    UnixTimestampSet = 29,
    Json = 32,
    JsonList = 33,
    Struct = 34,
    StructList = 35,
    Uuid = 36,
    TimeUuid = 37,
    UuidList = 38,
    TimeUuidList = 39,
    UuidSet = 40,
    TimeUuidSet = 41,
    ValueList = 42,
    ValueSet = 43,
    Decimal = 44,
    DecimalList = 45,
    DecimalSet = 46,
    ScalarMap = 47,
    ZonedTimestamp = 48,
}

const VALUE_TYPES: [(ValueType, &str); 45] = [
    (ValueType::Invalid, "INVALID"),
    (ValueType::Bytes, "BYTES"),
    (ValueType::String, "STRING"),
    (ValueType::Int32, "INT32"),
    (ValueType::Int64, "INT64"),
    (ValueType::Double, "DOUBLE"),
    (ValueType::Float, "FLOAT"),
    (ValueType::Bool, "BOOL"),
    (ValueType::UnixTimestamp, "UNIX_TIMESTAMP"),
    (ValueType::BytesList, "BYTES_LIST"),
    (ValueType::StringList, "STRING_LIST"),
    (ValueType::Int32List, "INT32_LIST"),
    (ValueType::Int64List, "INT64_LIST"),
    (ValueType::DoubleList, "DOUBLE_LIST"),
    (ValueType::FloatList, "FLOAT_LIST"),
    (ValueType::BoolList, "BOOL_LIST"),
    (ValueType::UnixTimestampList, "UNIX_TIMESTAMP_LIST"),
    (ValueType::Null, "NULL"),
    (ValueType::Map, "MAP"),
    (ValueType::MapList, "MAP_LIST"),
    (ValueType::BytesSet, "BYTES_SET"),
    (ValueType::StringSet, "STRING_SET"),
    (ValueType::Int32Set, "INT32_SET"),
    (ValueType::Int64Set, "INT64_SET"),
    (ValueType::DoubleSet, "DOUBLE_SET"),
    (ValueType::FloatSet, "FLOAT_SET"),
    (ValueType::BoolSet, "BOOL_SET"),
    (ValueType::UnixTimestampSet, "UNIX_TIMESTAMP_SET"),
    (ValueType::Json, "JSON"),
    (ValueType::JsonList, "JSON_LIST"),
    (ValueType::Struct, "STRUCT"),
    (ValueType::StructList, "STRUCT_LIST"),
    (ValueType::Uuid, "UUID"),
    (ValueType::TimeUuid, "TIME_UUID"),
    (ValueType::UuidList, "UUID_LIST"),
    (ValueType::TimeUuidList, "TIME_UUID_LIST"),
    (ValueType::UuidSet, "UUID_SET"),
    (ValueType::TimeUuidSet, "TIME_UUID_SET"),
    (ValueType::ValueList, "VALUE_LIST"),
    (ValueType::ValueSet, "VALUE_SET"),
    (ValueType::Decimal, "DECIMAL"),
    (ValueType::DecimalList, "DECIMAL_LIST"),
    (ValueType::DecimalSet, "DECIMAL_SET"),
    (ValueType::ScalarMap, "SCALAR_MAP"),
    (ValueType::ZonedTimestamp, "ZONED_TIMESTAMP"),
];

impl ValueType {
    /// From Feast's number; `None` for a number that this build does not know.
    pub fn from_number(number: i32) -> Option<Self> {
        VALUE_TYPES
            .iter()
            .map(|(value_type, _)| *value_type)
            .find(|value_type| *value_type as i32 == number)
    }

    /// Feast's name, such as `INT64_LIST`.
    pub fn name(self) -> &'static str {
        VALUE_TYPES
            .iter()
            .find(|(value_type, _)| *value_type == self)
            .map_or("INVALID", |(_, name)| name)
    }
}

/// A column of a view: a feature or a join key.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    pub value_type: ValueType,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    pub name: String,
    pub join_key: String,
    /// `Invalid` where the definition leaves it open; the views' own columns decide then.
    pub value_type: ValueType,
    pub description: String,
}

/// Whether Feast lets a view be read online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewState {
    Unspecified,
    Created,
    Generated,
    Materializing,
    AvailableOnline,
    /// A state that this build does not know, by its number.
    Other(i32),
}

impl ViewState {
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Unspecified,
            1 => Self::Created,
            2 => Self::Generated,
            3 => Self::Materializing,
            4 => Self::AvailableOnline,
            other => Self::Other(other),
        }
    }

    pub fn number(self) -> i32 {
        match self {
            Self::Unspecified => 0,
            Self::Created => 1,
            Self::Generated => 2,
            Self::Materializing => 3,
            Self::AvailableOnline => 4,
            Self::Other(number) => number,
        }
    }

    /// Feast's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "STATE_UNSPECIFIED",
            Self::Created => "CREATED",
            Self::Generated => "GENERATED",
            Self::Materializing => "MATERIALIZING",
            Self::AvailableOnline => "AVAILABLE_ONLINE",
            Self::Other(_) => "unknown",
        }
    }
}

/// What fills a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewKind {
    Batch,
    Stream,
}

/// A feature view or stream feature view.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureView {
    pub name: String,
    pub kind: ViewKind,
    /// Entity names, in order of definition; empty for an entityless view.
    pub entities: Vec<String>,
    /// Join keys with their types; `__dummy_id` for an entityless view.
    pub join_keys: Vec<Field>,
    pub features: Vec<Field>,
    /// How old a feature may be; zero means any age.
    pub ttl: Duration,
    pub online: bool,
    pub disabled: bool,
    pub state: ViewState,
    /// Zero for a view that was never changed.
    pub version: u32,
    pub batch_source: Option<DataSource>,
    /// The name of the push, Kafka or Kinesis source that feeds the view, if there is one.
    pub stream_source: Option<String>,
    /// Start and end of each materialization, oldest first.
    pub materialized: Vec<(Timestamp, Timestamp)>,
    pub description: String,
}

impl FeatureView {
    pub fn feature(&self, name: &str) -> Option<&Field> {
        self.features.iter().find(|field| field.name == name)
    }
}

/// A view that is computed from others and from request data.
#[derive(Debug, Clone, PartialEq)]
pub struct OnDemandFeatureView {
    pub name: String,
    pub features: Vec<Field>,
    /// What it is computed from, sorted by name.
    pub sources: Vec<OnDemandSource>,
    pub transformation: Transformation,
    /// Computed on write, and so read like any other view.
    pub write_to_online_store: bool,
    /// The function takes and gives one row at a time (`mode="python"` only).
    pub singleton: bool,
    /// Entity names, in order of definition.
    pub entities: Vec<String>,
    /// Join keys with their types, for a view that is written.
    pub join_keys: Vec<Field>,
    pub disabled: bool,
    /// Zero for a view that was never changed.
    pub version: u32,
    pub description: String,
}

/// One input of an on-demand feature view.
#[derive(Debug, Clone, PartialEq)]
pub enum OnDemandSource {
    /// Features of another view.
    View(Projection),
    /// Columns that the request brings.
    Request { name: String, fields: Vec<Field> },
}

/// How an on-demand feature view is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Transformation {
    /// A Python function over data frames.
    Pandas { source: String },
    /// A Python function over dictionaries of lists.
    Python { source: String },
    /// A serialized Substrait plan.
    Substrait { plan: Vec<u8> },
    /// A kind that this build does not know, by its name.
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct FeatureService {
    pub name: String,
    pub projections: Vec<Projection>,
    /// The service's features are stored as one vector per entity key.
    pub precompute_online: bool,
    pub description: String,
}

/// What a feature service takes from one view.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    pub view: String,
    /// Under which name the features appear; the view's own where absent.
    pub alias: Option<String>,
    pub features: Vec<Field>,
    /// View join key to request column; keys that are not here keep their names.
    pub join_key_map: Vec<(String, String)>,
    /// A pinned version of the view.
    pub version: Option<u32>,
}

impl Projection {
    /// The alias, else the view's name.
    pub fn effective_name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.view)
    }
}

/// Where a view's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSource {
    pub name: String,
    pub kind: SourceKind,
    /// Source column to feature or join key.
    pub field_mapping: Vec<(String, String)>,
    pub timestamp_field: String,
    /// Empty where the source has none.
    pub created_timestamp_column: String,
}

impl DataSource {
    /// The source column that holds `field`.
    pub fn column_of<'a>(&'a self, field: &'a str) -> &'a str {
        self.field_mapping
            .iter()
            .find(|(_, mapped)| mapped == field)
            .map_or(field, |(column, _)| column)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// A Parquet file or a directory of them: a path relative to the repository, an absolute path or a URI.
    File {
        uri: String,
        /// Where to find S3, if it is not Amazon's.
        s3_endpoint: Option<String>,
    },
    /// A query or a table in Postgres; one of them is empty.
    Postgres { query: String, table: String },
    /// A source that this build cannot read, by the name of its kind.
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_types_have_feasts_names_and_numbers() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/feast/proto_fields.json"
        );
        let fields: serde_json::Value =
            serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
        let recorded = fields["enums"]["feast.types.ValueType.Enum"]
            .as_object()
            .unwrap();
        assert_eq!(recorded.len(), VALUE_TYPES.len());
        for (value_type, name) in VALUE_TYPES {
            assert_eq!(ValueType::from_number(value_type as i32), Some(value_type));
            assert_eq!(value_type.name(), name);
            assert_eq!(recorded[name], value_type as i32, "{name}");
        }
        assert_eq!(ValueType::from_number(9), None);
    }
}
