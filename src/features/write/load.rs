//! Files as frames: JSON, CSV and Parquet.
//!
//! A file has no types of its own, or other ones than JSON; what its cells become depends on the columns of the views that
//! it is for (`ColumnTypes`). JSON is read whole; CSV and Parquet give a frame per so many rows.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, UInt64Type};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map as Object, Value as Json};

use super::{Frame, View, known_view, pushed_views};
use crate::features::FeatureStore;
use crate::features::convert::strict_cast;
use crate::features::definitions::{DataSource, Field, ValueType};

/// What the columns of a file are for.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnTypes {
    types: HashMap<String, ValueType>,
    /// Timestamp columns; a name may be in both.
    times: Vec<String>,
}

/// A file that does not become a frame.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("not JSON")]
    Json(#[source] serde_json::Error),
    #[error("neither a list of rows nor an object of columns; {0}")]
    Shape(String),
    #[error("not CSV")]
    Csv(#[source] csv::Error),
    #[error("the rows cannot be read")]
    Arrow(#[source] ArrowError),
    #[error("column `{column}` cannot be read")]
    Column {
        column: String,
        #[source]
        source: ArrowError,
    },
}

impl FeatureStore {
    /// The columns that a push to the source may have.
    pub fn push_columns(&self, source: &str) -> Result<ColumnTypes, crate::features::Error> {
        let registry = self.registry();
        let mut types = ColumnTypes::new();
        for view in pushed_views(&registry, source)? {
            let fields = view.join_keys.iter().chain(&view.features);
            types.add(fields, view.batch_source.as_ref());
        }
        Ok(types)
    }

    /// The columns that a write to the view may have.
    pub fn write_columns(&self, view: &str) -> Result<ColumnTypes, crate::features::Error> {
        let registry = self.registry();
        let mut types = ColumnTypes::new();
        match known_view(&registry, view)? {
            View::Stored(view) => {
                let fields = view.join_keys.iter().chain(&view.features);
                types.add(fields, view.batch_source.as_ref());
            }
            View::OnDemand(view) => {
                let inputs = crate::features::transform::Inputs::of(view, &registry)?;
                let own = view.join_keys.iter().chain(&view.features);
                types.add(own.chain(&inputs.fields), None);
            }
        }
        Ok(types)
    }
}

impl ColumnTypes {
    fn new() -> Self {
        Self {
            types: HashMap::new(),
            times: Vec::new(),
        }
    }

    fn add<'a>(&mut self, fields: impl Iterator<Item = &'a Field>, source: Option<&DataSource>) {
        for field in fields {
            self.types.insert(field.name.clone(), field.value_type);
            let column = source.map_or(field.name.as_str(), |source| source.column_of(&field.name));
            self.types.insert(column.to_owned(), field.value_type);
        }
        if let Some(source) = source {
            let created = &source.created_timestamp_column;
            for name in [&source.timestamp_field, created] {
                if !name.is_empty() {
                    self.times.push(name.clone());
                }
            }
        }
    }

    fn use_of(&self, column: &str) -> Use {
        if self.times.iter().any(|name| name == column) {
            return Use::Time;
        }
        self.types
            .get(column)
            .map_or(Use::Unknown, |value_type| Use::Value(*value_type))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Use {
    Time,
    Value(ValueType),
    Unknown,
}

/// A list of rows, or an object of columns, perhaps under `df` as in Feast's bodies.
pub fn from_json(text: &[u8]) -> Result<Frame, LoadError> {
    from_json_value(serde_json::from_slice(text).map_err(LoadError::Json)?)
}

/// The same of what is decoded already.
pub fn from_json_value(value: Json) -> Result<Frame, LoadError> {
    match value {
        Json::Array(rows) => from_rows(rows.into_iter().enumerate()),
        Json::Object(mut object) => match object.remove("df") {
            Some(Json::Object(columns)) => from_columns(columns),
            Some(Json::Array(values)) => {
                object.insert("df".to_owned(), Json::Array(values));
                from_columns(object)
            }
            Some(_) => Err(LoadError::Shape("`df` is no object".to_owned())),
            None => from_columns(object),
        },
        _ => Err(LoadError::Shape("it is a single value".to_owned())),
    }
}

/// One row per line.
pub fn from_json_lines(text: &[u8]) -> Result<Frame, LoadError> {
    let rows = serde_json::Deserializer::from_slice(text).into_iter::<Json>();
    let rows: Result<Vec<Json>, _> = rows.collect();
    from_rows(rows.map_err(LoadError::Json)?.into_iter().enumerate())
}

fn from_columns(columns: Object<String, Json>) -> Result<Frame, LoadError> {
    let column = |(name, values): (String, Json)| match values {
        Json::Array(values) => Ok((name, values)),
        _ => Err(LoadError::Shape(format!("column `{name}` is no list"))),
    };
    columns.into_iter().map(column).collect()
}

/// A row without a column has null in it.
fn from_rows(rows: impl ExactSizeIterator<Item = (usize, Json)>) -> Result<Frame, LoadError> {
    let n_rows = rows.len();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut columns: Vec<(String, Vec<Json>)> = Vec::new();
    for (row, value) in rows {
        let Json::Object(object) = value else {
            return Err(LoadError::Shape(format!("row {row} is no object")));
        };
        for (name, value) in object {
            let position = *positions.entry(name).or_insert_with_key(|name| {
                columns.push((name.clone(), Vec::with_capacity(n_rows)));
                columns.len() - 1
            });
            let values = &mut columns[position].1;
            values.resize(row, Json::Null);
            values.push(value);
        }
    }
    for (_, values) in &mut columns {
        values.resize(n_rows, Json::Null);
    }
    Ok(Frame { columns })
}

/// CSV with a heading, in frames of at most `n_rows` rows.
pub struct CsvFrames<R> {
    records: csv::StringRecordsIntoIter<R>,
    columns: Vec<(String, Use)>,
    n_rows: usize,
}

impl<R> fmt::Debug for CsvFrames<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvFrames")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

impl<R: Read> CsvFrames<R> {
    pub fn new(reader: R, types: &ColumnTypes, n_rows: usize) -> Result<Self, LoadError> {
        let mut reader = csv::Reader::from_reader(reader);
        let headings = reader.headers().map_err(LoadError::Csv)?;
        let column = |name: &str| (name.to_owned(), types.use_of(name));
        Ok(Self {
            columns: headings.iter().map(column).collect(),
            records: reader.into_records(),
            n_rows,
        })
    }
}

impl<R: Read> Iterator for CsvFrames<R> {
    type Item = Result<Frame, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut columns: Vec<Vec<Json>> = vec![Vec::new(); self.columns.len()];
        for record in self.records.by_ref().take(self.n_rows) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(Err(LoadError::Csv(error))),
            };
            for ((values, cell), (_, of)) in columns.iter_mut().zip(&record).zip(&self.columns) {
                values.push(cell_value(cell, *of));
            }
        }
        if columns.first().is_none_or(Vec::is_empty) {
            return None;
        }
        let names = self.columns.iter().map(|(name, _)| name.clone());
        Some(Ok(names.zip(columns).collect()))
    }
}

/// Text stays text where text is wanted; elsewhere it is read as JSON. An empty cell is null.
fn cell_value(cell: &str, of: Use) -> Json {
    use ValueType as T;
    if cell.is_empty() {
        return Json::Null;
    }
    let text = || Json::String(cell.to_owned());
    match of {
        Use::Time => cell.parse::<i64>().map_or_else(|_| text(), Json::from),
        Use::Unknown
        | Use::Value(
            T::String | T::Bytes | T::Json | T::Uuid | T::TimeUuid | T::Decimal | T::ZonedTimestamp,
        ) => text(),
        Use::Value(T::Bool) if cell.eq_ignore_ascii_case("true") => Json::Bool(true),
        Use::Value(T::Bool) if cell.eq_ignore_ascii_case("false") => Json::Bool(false),
        Use::Value(T::Double | T::Float) if cell.eq_ignore_ascii_case("nan") => Json::Null,
        Use::Value(_) => serde_json::from_str(cell).unwrap_or_else(|_| text()),
    }
}

/// Rows of a Parquet file. Times are text with a zone, or seconds where a feature is of type UNIX_TIMESTAMP; bytes are base64.
pub fn from_arrow(batch: &RecordBatch, types: &ColumnTypes) -> Result<Frame, LoadError> {
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let of = types.use_of(name);
        let values = values(array, of).map_err(|source| LoadError::Column {
            column: name.clone(),
            source,
        })?;
        columns.push((name.clone(), values));
    }
    Ok(Frame { columns })
}

fn values(array: &ArrayRef, of: Use) -> Result<Vec<Json>, ArrowError> {
    let wants_seconds = matches!(
        of,
        Use::Value(
            ValueType::UnixTimestamp | ValueType::UnixTimestampList | ValueType::UnixTimestampSet
        )
    );
    let wants_number = !matches!(
        of,
        Use::Value(ValueType::Decimal | ValueType::DecimalList | ValueType::DecimalSet)
    );
    Ok(match array.data_type() {
        DataType::Null => vec![Json::Null; array.len()],
        DataType::Boolean => each(array.as_boolean(), Json::from),
        DataType::UInt64 => each(array.as_primitive::<UInt64Type>(), Json::from),
        kind if kind.is_integer() => {
            let array = strict_cast(array, &DataType::Int64)?;
            each(array.as_primitive::<Int64Type>(), Json::from)
        }
        kind if kind.is_floating() => doubles(array)?,
        DataType::Decimal128(..) | DataType::Decimal256(..) if wants_number => doubles(array)?,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 if wants_seconds => {
            nanoseconds(array, |nanos| Json::from(nanos.div_euclid(1_000_000_000)))?
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            nanoseconds(array, time_text)?
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let array = strict_cast(array, &DataType::Binary)?;
            each(array.as_binary::<i32>(), |bytes| {
                Json::from(STANDARD.encode(bytes))
            })
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let items = values(lists.values(), of)?;
            let offsets = lists.value_offsets();
            let list = |row: usize| {
                let at = |i: usize| usize::try_from(offsets[i]).unwrap_or(0);
                match lists.is_valid(row) {
                    true => Json::Array(items[at(row)..at(row + 1)].to_vec()),
                    false => Json::Null,
                }
            };
            (0..lists.len()).map(list).collect()
        }
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            values(&strict_cast(array, &DataType::List(item.clone()))?, of)?
        }
        DataType::Struct(fields) => {
            let structs = array.as_struct();
            let mut columns = Vec::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(structs.columns()) {
                columns.push((field.name(), values(column, Use::Unknown)?));
            }
            let object = |row: usize| {
                let entry =
                    |(name, values): &(&String, Vec<Json>)| ((*name).clone(), values[row].clone());
                match structs.is_valid(row) {
                    true => Json::Object(columns.iter().map(entry).collect()),
                    false => Json::Null,
                }
            };
            (0..structs.len()).map(object).collect()
        }
        DataType::Map(..) => {
            let maps = array.as_map();
            let keys = strict_cast(maps.keys(), &DataType::Utf8)?;
            let items = values(maps.values(), Use::Unknown)?;
            let offsets = maps.value_offsets();
            let object = |row: usize| {
                let at = |i: usize| usize::try_from(offsets[i]).unwrap_or(0);
                let key = |i: usize| keys.as_string::<i32>().value(i).to_owned();
                let entries = (at(row)..at(row + 1)).map(|i| (key(i), items[i].clone()));
                match maps.is_valid(row) {
                    true => Json::Object(entries.collect()),
                    false => Json::Null,
                }
            };
            (0..maps.len()).map(object).collect()
        }
        DataType::Dictionary(_, kind) => values(&strict_cast(array, kind)?, of)?,
        _ => {
            let array = strict_cast(array, &DataType::Utf8)?;
            each(array.as_string::<i32>(), Json::from)
        }
    })
}

fn each<T>(items: impl IntoIterator<Item = Option<T>>, json: impl Fn(T) -> Json) -> Vec<Json> {
    let item = |item: Option<T>| item.map_or(Json::Null, &json);
    items.into_iter().map(item).collect()
}

/// JSON has no infinity: text, which FLOAT takes. NaN is null.
fn doubles(array: &ArrayRef) -> Result<Vec<Json>, ArrowError> {
    let array = strict_cast(array, &DataType::Float64)?;
    Ok(each(array.as_primitive::<Float64Type>(), |double| {
        if double.is_infinite() {
            return Json::from(if double > 0.0 { "inf" } else { "-inf" });
        }
        Json::from(double)
    }))
}

fn nanoseconds(array: &ArrayRef, json: impl Fn(i64) -> Json) -> Result<Vec<Json>, ArrowError> {
    let array = strict_cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
    let array = strict_cast(&array, &DataType::Int64)?;
    Ok(each(array.as_primitive::<Int64Type>(), json))
}

/// All of one form: nine digits and `Z`.
fn time_text(nanos: i64) -> Json {
    Json::from(format!(
        "{:.9}",
        jiff::Timestamp::from_nanosecond(nanos.into()).unwrap_or_default()
    ))
}
