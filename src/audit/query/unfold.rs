//! From flat rows of events to one row for each feature value, or for each value of an output.
//!
//! `features` and `outputs` of an event are JSON with a list for each name, one item per row of the request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::columns::{self, micros, time_builder, time_type};
use super::scan::{Output, broken};
use super::{Error, LeftOut};

/// A batch is full with so many rows.
const MAX_ROWS: usize = 8_192;

/// What is unfolded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfold {
    Features,
    Outputs,
}

impl Unfold {
    pub(super) fn schema(self) -> SchemaRef {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let mut fields = vec![
            text("id", false),
            Field::new("row", DataType::Int64, false),
            Field::new("time", time_type(), false),
            text("model", true),
            text("model_version", true),
            text(self.name(), false),
            text("value", true),
            Field::new("number", DataType::Float64, true),
        ];
        if self == Self::Features {
            fields.extend([
                text("status", true),
                Field::new("event_timestamp", time_type(), true),
                Field::new("age_s", DataType::Float64, true),
            ]);
        }
        Arc::new(Schema::new(fields))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Features => "feature",
            Self::Outputs => "output",
        }
    }

    /// Columns of the flat row that it takes, in the order of `Event`.
    pub(super) fn needs(self) -> Vec<usize> {
        let nested = match self {
            Self::Features => "features",
            Self::Outputs => "outputs",
        };
        let names = ["id", "time", "model", "model_version", nested];
        names.into_iter().filter_map(columns::place).collect()
    }
}

/// One feature, over all rows of a request.
#[derive(Debug, Deserialize)]
struct Feature<'a> {
    #[serde(borrow, default)]
    values: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    statuses: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    event_timestamps: Vec<Option<Cow<'a, str>>>,
}

/// Unfolds batches on their way to `output`.
pub(super) struct Unfolding<'a> {
    unfold: Unfold,
    /// Columns that are wanted, by their places in the schema.
    projection: &'a [usize],
    left_out: &'a LeftOut,
    output: &'a mut dyn Output,
    builders: Builders,
    error: Option<Error>,
}

/// What the rows of one event have in common.
struct Event<'a> {
    id: &'a str,
    time: i64,
    model: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Unfolding<'a> {
    pub(super) fn new(
        unfold: Unfold,
        projection: &'a [usize],
        left_out: &'a LeftOut,
        output: &'a mut dyn Output,
    ) -> Self {
        Self {
            unfold,
            projection,
            left_out,
            output,
            builders: Builders::default(),
            error: None,
        }
    }

    /// Gives what is left, or tells what failed.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.flush().map(|_| ()),
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<bool, Error> {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        let (ids, models, versions, nested) = (text(0), text(2), text(3), text(4));
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            if nested.is_null(row) {
                continue;
            }
            let event = Event {
                id: ids.value(row),
                time: times.value(row),
                model: models.is_valid(row).then(|| models.value(row)),
                version: versions.is_valid(row).then(|| versions.value(row)),
            };
            let goes_on = match self.unfold {
                Unfold::Features => self.features(&event, nested.value(row))?,
                Unfold::Outputs => self.outputs(&event, nested.value(row))?,
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn features(&mut self, event: &Event<'_>, json: &str) -> Result<bool, Error> {
        let Ok(features) = serde_json::from_str::<BTreeMap<Cow<'_, str>, Feature<'_>>>(json) else {
            return Ok(self.leave_out(event));
        };
        for (name, feature) in &features {
            for row in 0..feature.statuses.len().max(feature.values.len()) {
                self.builders
                    .value(event, row, name, feature.values.get(row).copied());
                let timestamp = feature.event_timestamps.get(row).and_then(Option::as_deref);
                self.builders.freshness(
                    event,
                    feature.statuses.get(row).map(AsRef::as_ref),
                    timestamp.and_then(micros),
                );
                if self.builders.n_rows >= MAX_ROWS && !self.flush()? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn outputs(&mut self, event: &Event<'_>, json: &str) -> Result<bool, Error> {
        let outputs = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(json);
        let Ok(outputs) = outputs else {
            return Ok(self.leave_out(event));
        };
        for (name, values) in &outputs {
            // A redacted output may be one text in place of a list.
            let values = serde_json::from_str::<Vec<&RawValue>>(values.get())
                .unwrap_or_else(|_| vec![*values]);
            for (row, value) in values.into_iter().enumerate() {
                self.builders.value(event, row, name, Some(value));
                if self.builders.n_rows >= MAX_ROWS && !self.flush()? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn leave_out(&mut self, event: &Event<'_>) -> bool {
        let (unfold, id) = (self.unfold, event.id);
        self.left_out.add(|| format!("{unfold:?} of event {id}"));
        true
    }

    fn flush(&mut self) -> Result<bool, Error> {
        let n_rows = std::mem::take(&mut self.builders.n_rows);
        if n_rows == 0 {
            return Ok(true);
        }
        let schema = self.unfold.schema();
        let arrays = self.builders.finish(self.unfold);
        let arrays = self
            .projection
            .iter()
            .filter_map(|at| arrays.get(*at).cloned());
        let batch = schema
            .project(self.projection)
            .and_then(|schema| columns::batch(&Arc::new(schema), arrays.collect(), n_rows));
        Ok(self.output.take(batch.map_err(broken)?))
    }
}

impl Output for Unfolding<'_> {
    fn take(&mut self, batch: RecordBatch) -> bool {
        match self.batch(&batch) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.output.is_wanted()
    }
}

#[derive(Debug)]
struct Builders {
    ids: StringBuilder,
    rows: Int64Builder,
    times: TimestampMicrosecondBuilder,
    models: StringBuilder,
    versions: StringBuilder,
    names: StringBuilder,
    values: StringBuilder,
    numbers: Float64Builder,
    statuses: StringBuilder,
    timestamps: TimestampMicrosecondBuilder,
    ages: Float64Builder,
    n_rows: usize,
}

impl Default for Builders {
    fn default() -> Self {
        Self {
            ids: StringBuilder::new(),
            rows: Int64Builder::new(),
            times: time_builder(),
            models: StringBuilder::new(),
            versions: StringBuilder::new(),
            names: StringBuilder::new(),
            values: StringBuilder::new(),
            numbers: Float64Builder::new(),
            statuses: StringBuilder::new(),
            timestamps: time_builder(),
            ages: Float64Builder::new(),
            n_rows: 0,
        }
    }
}

impl Builders {
    fn value(&mut self, event: &Event<'_>, row: usize, name: &str, value: Option<&RawValue>) {
        self.ids.append_value(event.id);
        self.rows.append_option(i64::try_from(row).ok());
        self.times.append_value(event.time);
        self.models.append_option(event.model);
        self.versions.append_option(event.version);
        self.names.append_value(name);
        let value = value.map(RawValue::get).filter(|text| *text != "null");
        self.numbers
            .append_option(value.and_then(|text| serde_json::from_str::<f64>(text).ok()));
        match value.and_then(|text| serde_json::from_str::<String>(text).ok()) {
            // A text as itself, anything else as JSON.
            Some(text) => self.values.append_value(text),
            None => self.values.append_option(value),
        }
        self.n_rows += 1;
    }

    fn freshness(&mut self, event: &Event<'_>, status: Option<&str>, timestamp: Option<i64>) {
        self.statuses.append_option(status);
        self.timestamps.append_option(timestamp);
        let age = timestamp.map(|timestamp| (event.time - timestamp) as f64 / 1e6);
        self.ages.append_option(age);
    }

    fn finish(&mut self, unfold: Unfold) -> Vec<ArrayRef> {
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.rows.finish()),
            Arc::new(self.times.finish()),
            Arc::new(self.models.finish()),
            Arc::new(self.versions.finish()),
            Arc::new(self.names.finish()),
            Arc::new(self.values.finish()),
            Arc::new(self.numbers.finish()),
        ];
        if unfold == Unfold::Features {
            let freshness: [ArrayRef; 3] = [
                Arc::new(self.statuses.finish()),
                Arc::new(self.timestamps.finish()),
                Arc::new(self.ages.finish()),
            ];
            arrays.extend(freshness);
        }
        arrays
    }
}
