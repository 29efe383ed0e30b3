//! The audit event: one JSON object on one line for each prediction, answered or not.
//!
//! Version 1. All fields are always there; one that does not apply is null.
//!
//! | field | what it holds |
//! |---|---|
//! | `schema_version` | `1`; changes when a field is removed or means something else, not when one is added |
//! | `writer` | UUIDv7 of the process that wrote the event, new at every start |
//! | `sequence` | counts the writer's events from 1 without a gap, in file order |
//! | `id` | UUIDv7 of the prediction, the one in the answer |
//! | `time` | when the request was taken up: RFC 3339, UTC |
//! | `request_id` | of the request, as in its answer |
//! | `trace_id` | W3C trace id, 32 hexadecimal digits |
//! | `principal` | who called |
//! | `surface` | which door the request came through: `http`, `mlflow`, `oip`, `job`, `cli` |
//! | `model.name`, `model.version` | the version that answered or failed; null when none was found for the request |
//! | `model.alias` | the alias through which the version was reached |
//! | `model.requested` | the model as the caller named it: `name`, `name@alias` or `name:version` |
//! | `variants` | `[{version, alias, rows}]` where several versions answered: which rows of the request each of them; `model` is then the one of the most rows |
//! | `shadow_of` | of a shadow run the id of the prediction that it shadows; null for a prediction |
//! | `n_rows` | rows of the request |
//! | `entities`, `inputs`, `rows` | `{column: values}` as the request gave them: a list with one value per row, or a scalar that counts for every row; null when the request has no such part (a request has `rows`, or the other two). Tensors are nested lists under `inputs`, an array that has no name under the empty name |
//! | `params` | scoring parameters as they came, line feeds between tokens excepted |
//! | `features` | `{"view:feature": {values, statuses, event_timestamps}}`, lists with one item per row: what the model was given |
//! | `outputs` | `{name: values}` with one item per row |
//! | `status` | `ok` or `error` |
//! | `error` | `{class, code, message}` of the failure; the message may hold values of the request |
//! | `difference` | of a shadow run `{name: {max_abs, n_rows}}` for each answered output: the largest distance of two numbers, and how many rows differ at all; null for an output that cannot be compared |
//! | `timings_us` | `{features, assemble, queue, engine, total}` in microseconds; of a failure only `total` is known; of a call that several versions answered the longest of each |
//! | `cached` | whether the outputs are those of an earlier run with the same inputs; null for a failure |
//! | `batch` | of a file that was scored `{source, destination, sha256, n_failed, features}`: where its rows came from, the file with its checksum, how many rows have no outputs, where features came from (`offline`, `online`, `given`, `none`); null for a prediction |
//!
//! 64-bit integers are exact; NaN and the infinities are `"NaN"`, `"Infinity"`, `"-Infinity"`; values are written as in
//! the answer. An event with `shadow_of` is no prediction: nobody was answered. It has the request's parts at null; they
//! stand in the event of the prediction. Nor is one with `batch`: `n_rows` are those of the file, which holds the outputs.
//!
//! Not here: when events are written (`audit`), where to (`sink`).

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::redact::{Redaction, Replaced, Treatment};
use super::scored::ScoredFile;
use crate::types::cell::Cell;
use crate::types::difference::{Difference, OutputDifference};
use crate::types::feature::{FeatureCell, FeatureRows};
use crate::types::names::{ModelRef, ModelVersion};
use crate::types::prediction::{NamedOutput, Prediction, ServedBy, Timings, VariantRows};
use crate::types::request::{
    Cells, ColumnPlace, PredictRequest, RequestColumn, RequestContext, RequestInputs,
};
use crate::types::scoring::Payload;
use crate::types::tensor::NamedTensor;
use crate::types::timestamp::Timestamp;
use crate::types::value::serialize_f64;

/// The version that this file describes.
pub const SCHEMA_VERSION: u32 = 1;

/// Where an encoded event comes from, without reading the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub writer: Uuid,
    pub sequence: u64,
}

impl Origin {
    /// `None` if this is no event. The two fields stand at the beginning of every event that was ever written.
    pub fn of(json: &[u8]) -> Option<Self> {
        const WRITER: &[u8] = br#""writer":""#;
        const SEQUENCE: &[u8] = br#"","sequence":"#;
        let start = json.get(..64.min(json.len()))?;
        let writer = start
            .windows(WRITER.len())
            .position(|bytes| bytes == WRITER)?;
        let rest = json.get(writer + WRITER.len()..)?;
        let (writer, rest) = rest.split_at_checked(36)?;
        let rest = rest.strip_prefix(SEQUENCE)?;
        let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        Some(Self {
            writer: Uuid::try_parse_ascii(writer).ok()?,
            sequence: std::str::from_utf8(&rest[..n_digits]).ok()?.parse().ok()?,
        })
    }
}

/// The text of an encoded event's `id`, which stands right behind the sequence; `None` if this is no event.
pub(super) fn id_of(json: &[u8]) -> Option<&[u8]> {
    const ID: &[u8] = br#","id":""#;
    let start = json.get(..256.min(json.len()))?;
    let at = start.windows(ID.len()).position(|bytes| bytes == ID)?;
    json.get(at + ID.len()..at + ID.len() + 36)
}

/// The fields from `id` on, borrowed from where they are. `Line` puts writer and sequence before them.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    id: Text<Uuid>,
    time: Timestamp,
    request_id: &'a str,
    trace_id: Option<&'a str>,
    principal: Option<Cow<'a, str>>,
    surface: &'static str,
    model: Model<'a>,
    variants: Option<Variants<'a>>,
    shadow_of: Option<Text<Uuid>>,
    n_rows: u64,
    entities: Option<Columns<'a>>,
    inputs: Option<Inputs<'a>>,
    rows: Option<Columns<'a>>,
    params: Option<Params<'a>>,
    features: Option<Features<'a>>,
    outputs: Option<Outputs<'a>>,
    status: Status,
    error: Option<ErrorFields<'a>>,
    difference: Option<Differences<'a>>,
    timings_us: TimingsUs,
    cached: Option<bool>,
    batch: Option<BatchFields<'a>>,
}

/// A file that was scored.
#[derive(Serialize)]
struct BatchFields<'a> {
    source: &'a str,
    destination: &'a str,
    sha256: &'a str,
    n_failed: u64,
    features: &'a str,
}

/// What is the same for every outcome of a request.
pub(super) struct Subject<'a> {
    pub(super) id: Uuid,
    pub(super) time: Timestamp,
    pub(super) request: &'a PredictRequest,
    pub(super) served_by: Option<&'a ServedBy>,
    pub(super) shadow_of: Option<Uuid>,
    /// What must not be kept, if anything.
    pub(super) redaction: Option<&'a Redaction>,
}

/// What is known of a failure.
pub(super) struct Failed<'a> {
    pub(super) class: &'static str,
    pub(super) code: &'a str,
    pub(super) message: &'a dyn Display,
}

#[derive(Serialize)]
struct ErrorFields<'a> {
    class: &'static str,
    code: &'a str,
    message: Option<Message<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a> {
    Whole(Text<&'a dyn Display>),
    Replaced(String),
}

impl<'a> ErrorFields<'a> {
    fn of(failed: &Failed<'a>, redaction: Option<&Redaction>) -> Self {
        let message = match treatment(redaction, Redaction::error_message) {
            Treatment::Keep => Some(Message::Whole(Text(failed.message))),
            Treatment::Drop => None,
            Treatment::Replace(replacement) => {
                let text = replacement.text(&failed.message.to_string());
                Some(Message::Replaced(text))
            }
        };
        Self {
            class: failed.class,
            code: failed.code,
            message,
        }
    }
}

/// Without rules everything is kept.
fn treatment<'a>(
    redaction: Option<&'a Redaction>,
    field: impl FnOnce(&'a Redaction) -> Treatment<'a>,
) -> Treatment<'a> {
    redaction.map_or(Treatment::Keep, field)
}

/// Writes a field of a map as its rule says.
fn write_entry<M: SerializeMap, T: Serialize>(
    map: &mut M,
    name: &str,
    values: &T,
    treatment: Treatment<'_>,
) -> Result<(), M::Error> {
    match treatment {
        Treatment::Keep => map.serialize_entry(name, values),
        Treatment::Drop => Ok(()),
        Treatment::Replace(replacement) => {
            map.serialize_entry(name, &Replaced(values, replacement))
        }
    }
}

/// Something that is written as its `Display` says.
pub(super) struct Text<T>(pub(super) T);

impl<'a> Event<'a> {
    /// The event of an answer.
    pub(super) fn answered(subject: &Subject<'a>, prediction: &'a Prediction) -> Self {
        Self {
            features: Some(Features(&prediction.features, subject.redaction)),
            outputs: Some(Outputs(&prediction.outputs, subject.redaction)),
            cached: Some(prediction.cached),
            model: Model::new(&subject.request.model, Some(&prediction.served_by)),
            variants: Variants::of(&prediction.variants),
            ..Self::new(subject, Status::Ok, TimingsUs::of(&prediction.timings))
        }
    }

    /// The event of a shadow run that came to its end.
    pub(super) fn shadowed(
        subject: &Subject<'a>,
        prediction: &'a Prediction,
        differences: &'a [OutputDifference],
    ) -> Self {
        Self {
            difference: Some(Differences(differences, subject.redaction)),
            ..Self::answered(subject, prediction)
        }
    }

    /// The event of a request that was not answered.
    pub(super) fn failed(subject: &Subject<'a>, failed: &Failed<'a>, total: Duration) -> Self {
        Self {
            error: Some(ErrorFields::of(failed, subject.redaction)),
            ..Self::new(subject, Status::Error, TimingsUs::total(total))
        }
    }

    fn new(subject: &Subject<'a>, status: Status, timings_us: TimingsUs) -> Self {
        let request = subject.request;
        // A shadow run's request stands in the event of the prediction.
        let is_shadow = subject.shadow_of.is_some();
        let redaction = subject.redaction;
        let columns = |place| {
            let columns = Columns::at(request.inputs.columns(), place, redaction);
            columns.filter(|_| !is_shadow)
        };
        let model = Model::new(&request.model, subject.served_by);
        let context = &request.context;
        Self {
            shadow_of: subject.shadow_of.map(Text),
            n_rows: request.inputs.n_rows() as u64,
            entities: columns(ColumnPlace::Entities),
            inputs: Inputs::of(&request.inputs, redaction).filter(|_| !is_shadow),
            rows: columns(ColumnPlace::Rows),
            params: request
                .params
                .as_deref()
                .filter(|_| !is_shadow)
                .and_then(|params| Params::of(params, redaction)),
            status,
            ..Self::bare(
                subject.id,
                subject.time,
                context,
                redaction,
                model,
                timings_us,
            )
        }
    }

    /// The event of a file that was scored.
    pub(super) fn scored(
        id: Uuid,
        file: &ScoredFile<'a>,
        redaction: Option<&'a Redaction>,
    ) -> Self {
        let model = Model::new(file.requested, Some(file.served_by));
        let timings_us = TimingsUs::total(file.took);
        Self {
            n_rows: file.n_rows,
            batch: Some(BatchFields {
                source: file.source,
                destination: file.destination,
                sha256: file.sha256,
                n_failed: file.n_failed,
                features: file.features,
            }),
            ..Self::bare(id, file.time, file.context, redaction, model, timings_us)
        }
    }

    /// Who asked whom when, and that it went well.
    fn bare(
        id: Uuid,
        time: Timestamp,
        context: &'a RequestContext,
        redaction: Option<&'a Redaction>,
        model: Model<'a>,
        timings_us: TimingsUs,
    ) -> Self {
        let principal = context.principal.as_deref();
        Self {
            id: Text(id),
            time,
            request_id: &context.request_id,
            trace_id: context.trace_id.as_deref(),
            principal: principal.and_then(|text| redacted_text(text, redaction)),
            surface: context.surface.as_str(),
            model,
            variants: None,
            shadow_of: None,
            n_rows: 0,
            entities: None,
            inputs: None,
            rows: None,
            params: None,
            features: None,
            outputs: None,
            status: Status::Ok,
            error: None,
            difference: None,
            timings_us,
            cached: None,
            batch: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Error,
}

#[derive(Serialize)]
struct Model<'a> {
    name: Option<&'a str>,
    version: Option<Text<ModelVersion>>,
    alias: Option<&'a str>,
    requested: Text<&'a ModelRef>,
}

impl<'a> Model<'a> {
    fn new(requested: &'a ModelRef, served_by: Option<&'a ServedBy>) -> Self {
        Self {
            name: served_by.map(|served| &*served.name),
            version: served_by.map(|served| Text(served.version)),
            alias: served_by.and_then(|served| served.alias.as_deref()),
            requested: Text(requested),
        }
    }
}

/// Which rows each version answered, where there were several.
struct Variants<'a>(&'a [VariantRows]);

impl<'a> Variants<'a> {
    fn of(variants: &'a [VariantRows]) -> Option<Self> {
        (!variants.is_empty()).then_some(Self(variants))
    }
}

#[derive(Serialize)]
struct Variant<'a> {
    version: Text<ModelVersion>,
    alias: Option<&'a str>,
    rows: &'a [usize],
}

impl Serialize for Variants<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|variant| Variant {
            version: Text(variant.served_by.version),
            alias: variant.served_by.alias.as_deref(),
            rows: &variant.rows,
        }))
    }
}

fn redacted_text<'a>(text: &'a str, redaction: Option<&Redaction>) -> Option<Cow<'a, str>> {
    match treatment(redaction, Redaction::principal) {
        Treatment::Keep => Some(Cow::Borrowed(text)),
        Treatment::Drop => None,
        Treatment::Replace(replacement) => Some(Cow::Owned(replacement.text(text))),
    }
}

struct Differences<'a>(&'a [OutputDifference], Option<&'a Redaction>);

impl Serialize for Differences<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(outputs, redaction) = self;
        // How far a value is from another tells of it.
        let is_kept = |output: &&OutputDifference| {
            let treatment = treatment(*redaction, |rules| rules.output(&output.name));
            matches!(treatment, Treatment::Keep)
        };
        serializer.collect_map(outputs.iter().filter(is_kept).map(|output| {
            let difference = output.difference.as_ref();
            (&*output.name, difference.map(DifferenceFields::of))
        }))
    }
}

#[derive(Serialize)]
struct DifferenceFields {
    max_abs: Option<Number>,
    n_rows: usize,
}

impl DifferenceFields {
    fn of(difference: &Difference) -> Self {
        Self {
            max_abs: difference.max_abs.map(Number),
            n_rows: difference.n_rows,
        }
    }
}

struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_f64(self.0, serializer)
    }
}

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The columns of one part of the request, in the order of the request.
struct Columns<'a> {
    columns: &'a [RequestColumn],
    place: ColumnPlace,
    redaction: Option<&'a Redaction>,
}

impl<'a> Columns<'a> {
    /// `None` when the request has nothing there.
    fn at(
        columns: &'a [RequestColumn],
        place: ColumnPlace,
        redaction: Option<&'a Redaction>,
    ) -> Option<Self> {
        let any = columns.iter().any(|column| column.place == place);
        any.then_some(Self {
            columns,
            place,
            redaction,
        })
    }
}

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for column in self.columns {
            if column.place != self.place {
                continue;
            }
            let treatment = treatment(self.redaction, |rules| rules.request(&column.name));
            match &column.cells {
                Cells::Scalar(cell) => write_entry(&mut map, &column.name, cell, treatment)?,
                Cells::List(cells) => write_entry(&mut map, &column.name, cells, treatment)?,
            }
        }
        map.end()
    }
}

/// What a request gives beside entities and rows.
enum Inputs<'a> {
    Columns(Columns<'a>),
    Tensors(&'a [NamedTensor], Option<&'a Redaction>),
    /// One array that the protocol gives no name.
    Unnamed(&'a Cell, Option<&'a Redaction>),
}

impl<'a> Inputs<'a> {
    fn of(inputs: &'a RequestInputs, redaction: Option<&'a Redaction>) -> Option<Self> {
        if let RequestInputs::Tensors(tensors) = inputs {
            return Some(Self::Tensors(tensors, redaction));
        }
        if let RequestInputs::Scoring(scoring) = inputs
            && let Payload::Array(cell) = &scoring.payload
        {
            return Some(Self::Unnamed(cell, redaction));
        }
        Columns::at(inputs.columns(), ColumnPlace::Inputs, redaction).map(Self::Columns)
    }
}

impl Serialize for Inputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Columns(columns) => columns.serialize(serializer),
            Self::Tensors(tensors, redaction) => {
                let mut map = serializer.serialize_map(None)?;
                for named in *tensors {
                    let treatment = treatment(*redaction, |rules| rules.request(&named.name));
                    write_entry(&mut map, &named.name, &*named.tensor, treatment)?;
                }
                map.end()
            }
            Self::Unnamed(cell, redaction) => {
                let mut map = serializer.serialize_map(None)?;
                let treatment = treatment(*redaction, |rules| rules.request(""));
                write_entry(&mut map, "", cell, treatment)?;
                map.end()
            }
        }
    }
}

/// JSON as the caller laid it out: line feeds between its tokens would break the event in two.
enum Params<'a> {
    Whole(&'a RawValue),
    Replaced(String),
}

impl<'a> Params<'a> {
    fn of(params: &'a RawValue, redaction: Option<&Redaction>) -> Option<Self> {
        match treatment(redaction, Redaction::params) {
            Treatment::Keep => Some(Self::Whole(params)),
            Treatment::Drop => None,
            Treatment::Replace(replacement) => Some(Self::Replaced(replacement.text(params.get()))),
        }
    }
}

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const LINE_BREAKS: [char; 2] = ['\n', '\r'];
        let params = match self {
            Self::Whole(params) => params,
            Self::Replaced(text) => return serializer.serialize_str(text),
        };
        if !params.get().contains(LINE_BREAKS) {
            return params.serialize(serializer);
        }
        // Within a string they are always escaped.
        let one_line = params.get().replace(LINE_BREAKS, " ");
        let one_line = RawValue::from_string(one_line).map_err(serde::ser::Error::custom)?;
        one_line.serialize(serializer)
    }
}

struct Outputs<'a>(&'a [NamedOutput], Option<&'a Redaction>);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(outputs, redaction) = self;
        let mut map = serializer.serialize_map(None)?;
        for named in *outputs {
            let treatment = treatment(*redaction, |rules| rules.output(&named.name));
            write_entry(&mut map, &named.name, &named.output, treatment)?;
        }
        map.end()
    }
}

struct Features<'a>(&'a FeatureRows, Option<&'a Redaction>);

impl Serialize for Features<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, redaction) = *self;
        let mut map = serializer.serialize_map(None)?;
        for (feature, name) in rows.names.iter().enumerate() {
            let treatment = treatment(redaction, |rules| rules.feature(name));
            if matches!(treatment, Treatment::Drop) {
                continue;
            }
            let column = FeatureColumn {
                rows,
                feature,
                treatment,
            };
            map.serialize_entry(name, &column)?;
        }
        map.end()
    }
}

/// One feature over all rows; the cells are stored by row.
struct FeatureColumn<'a> {
    rows: &'a FeatureRows,
    feature: usize,
    /// Of the values; how fresh they are is no secret.
    treatment: Treatment<'a>,
}

impl Serialize for FeatureColumn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        let values = Parts(self, |cell| &cell.value);
        write_entry(&mut map, "values", &values, self.treatment)?;
        map.serialize_entry("statuses", &Parts(self, |cell| &cell.status))?;
        map.serialize_entry(
            "event_timestamps",
            &Parts(self, |cell| &cell.event_timestamp),
        )?;
        map.end()
    }
}

/// One part of every cell of a column, in row order.
struct Parts<'a, T>(&'a FeatureColumn<'a>, fn(&FeatureCell) -> &T);

impl<T: Serialize> Serialize for Parts<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(column, part) = self;
        serializer.collect_seq(column.rows.column(column.feature).map(part))
    }
}

/// Microseconds; a step that is not known is null.
#[derive(Serialize)]
struct TimingsUs {
    features: Option<u64>,
    assemble: Option<u64>,
    queue: Option<u64>,
    engine: Option<u64>,
    total: u64,
}

impl TimingsUs {
    fn of(timings: &Timings) -> Self {
        Self {
            features: Some(micros(timings.features)),
            assemble: Some(micros(timings.assemble)),
            queue: Some(micros(timings.queue)),
            engine: Some(micros(timings.engine)),
            total: micros(timings.total),
        }
    }

    fn total(total: Duration) -> Self {
        Self {
            features: None,
            assemble: None,
            queue: None,
            engine: None,
            total: micros(total),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
