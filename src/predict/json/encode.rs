//! A prediction as the JSON answer of `/v1` predict. No I/O.

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use crate::types::feature::{FeatureCell, FeatureRows};
use crate::types::prediction::{Prediction, ServedBy, Timings, VariantRows};
use crate::types::timestamp::Timestamp;
use crate::types::value::serialize_f64;

/// The answer of a predict call.
pub(crate) struct PredictAnswer<'a> {
    pub(crate) prediction: &'a Prediction,
    /// With features and timings.
    pub(crate) explain: bool,
}

impl PredictAnswer<'_> {
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut body = Vec::with_capacity(256);
        serde_json::to_writer(&mut body, self)?;
        Ok(body)
    }
}

impl Serialize for PredictAnswer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut buffer = uuid::Uuid::encode_buffer();
        map.serialize_entry(
            "id",
            &*self.prediction.id.hyphenated().encode_lower(&mut buffer),
        )?;
        map.serialize_entry("model", &Model(&self.prediction.served_by))?;
        if !self.prediction.variants.is_empty() {
            map.serialize_entry("variants", &Variants(&self.prediction.variants))?;
        }
        map.serialize_entry("n_rows", &self.prediction.n_rows)?;
        map.serialize_entry("outputs", &Outputs(self.prediction))?;
        if self.explain {
            map.serialize_entry("features", &Features(&self.prediction.features))?;
            map.serialize_entry("timings_us", &Micros(&self.prediction.timings))?;
        }
        map.end()
    }
}

struct Model<'a>(&'a ServedBy);

impl Serialize for Model<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut model = serializer.serialize_struct("model", 3)?;
        model.serialize_field("name", &*self.0.name)?;
        model.serialize_field("version", &Text(self.0.version))?;
        model.serialize_field("alias", &self.0.alias.as_deref())?;
        model.end()
    }
}

/// Which rows each version answered, where there were several.
struct Variants<'a>(&'a [VariantRows]);

impl Serialize for Variants<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Variant))
    }
}

struct Variant<'a>(&'a VariantRows);

impl Serialize for Variant<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let served_by = &self.0.served_by;
        let mut variant = serializer.serialize_struct("variant", 3)?;
        variant.serialize_field("version", &Text(served_by.version))?;
        variant.serialize_field("alias", &served_by.alias.as_deref())?;
        variant.serialize_field("rows", &self.0.rows)?;
        variant.end()
    }
}

struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Outputs<'a>(&'a Prediction);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .outputs
                .iter()
                .map(|named| (&*named.name, &named.output)),
        )
    }
}

/// Features as `explain` shows them.
pub fn features_json(rows: &FeatureRows) -> serde_json::Value {
    serde_json::to_value(Features(rows)).unwrap_or_default()
}

struct Features<'a>(&'a FeatureRows);

impl Serialize for Features<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns = self.0.names.iter().enumerate().map(|(index, name)| {
            (
                name,
                FeatureColumn {
                    rows: self.0,
                    index,
                },
            )
        });
        serializer.collect_map(columns)
    }
}

/// One feature over all rows, with what must be told beside its values.
struct FeatureColumn<'a> {
    rows: &'a FeatureRows,
    index: usize,
}

impl<'a> FeatureColumn<'a> {
    fn each<T>(&self, get: impl Fn(&'a FeatureCell) -> T) -> Vec<T> {
        self.rows.column(self.index).map(get).collect()
    }
}

impl Serialize for FeatureColumn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let age = |at: Timestamp| Seconds(at.age_at(self.rows.read_at).as_secs_f64());
        let mut column = serializer.serialize_struct("feature", 4)?;
        column.serialize_field("values", &self.each(|cell| &cell.value))?;
        column.serialize_field("statuses", &self.each(|cell| cell.status))?;
        column.serialize_field("event_timestamps", &self.each(|cell| cell.event_timestamp))?;
        column.serialize_field("ages_s", &self.each(|cell| cell.event_timestamp.map(age)))?;
        column.end()
    }
}

struct Seconds(f64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(self.0, serializer)
    }
}

struct Micros<'a>(&'a Timings);

impl Serialize for Micros<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Timings {
            features,
            assemble,
            queue,
            engine,
            total,
        } = self.0;
        let steps = [
            ("features", features),
            ("assemble", assemble),
            ("queue", queue),
            ("engine", engine),
            ("total", total),
        ];
        serializer.collect_map(steps.map(|(step, duration)| (step, duration.as_micros())))
    }
}
