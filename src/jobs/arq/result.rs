//! A result on the wire: `{t, f, a, k, et, s, r, st, ft, q, id}`.

use super::codec::Objects;
use super::fields::Fields;
use super::map_writer::MapWriter;
use super::{Accept, Codec, DecodeError, EncodeError, FailureForm, Raised};
use crate::jobs::value::Value;
use crate::types::timestamp::Timestamp;

/// What stands for a function that is not known, and for a queue or id that a result does not name.
pub const UNKNOWN: &str = "<unknown>";

/// What became of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct ArqResult {
    /// The number of the try that ended the job.
    pub job_try: u32,
    pub function: String,
    pub args: Vec<Value>,
    pub kwargs: Vec<(String, Value)>,
    pub enqueued_at: Timestamp,
    pub outcome: Outcome,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub queue: String,
    pub job_id: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Returned(Value),
    Raised(Raised),
}

impl ArqResult {
    /// The result of a job whose bytes are missing or no job: nothing is known of it but its id.
    pub fn of_unknown(
        job_id: &str,
        queue: &str,
        job_try: u32,
        raised: Raised,
        now: Timestamp,
    ) -> Self {
        Self {
            job_try,
            function: UNKNOWN.to_owned(),
            args: Vec::new(),
            kwargs: Vec::new(),
            enqueued_at: Timestamp::EPOCH,
            outcome: Outcome::Raised(raised),
            started_at: now,
            finished_at: now,
            queue: queue.to_owned(),
            job_id: job_id.to_owned(),
        }
    }
}

/// The result, and its codec. Queue and id may be missing, and further fields are ignored, as in arq.
///
/// Objects of other classes become inert records, so that a client can show what a Python worker raised.
pub fn decode_result(bytes: &[u8], accept: &Accept) -> Result<(ArqResult, Codec), DecodeError> {
    let codec = Codec::accepted(bytes, accept)?;
    let mut fields = Fields::of("result", codec.decode(bytes, Objects::Record, accept)?)?;
    let value = fields.take("r")?;
    let outcome = match fields.flag("s")? {
        true => Outcome::Returned(value),
        false => Outcome::Raised(Raised::decode(value, codec)),
    };
    let result = ArqResult {
        job_try: fields.job_try()?.unwrap_or(0),
        function: fields.text("f")?,
        args: fields.args()?,
        kwargs: fields.kwargs()?,
        enqueued_at: fields.time("et")?,
        outcome,
        started_at: fields.time("st")?,
        finished_at: fields.time("ft")?,
        queue: name(fields.take_if_any("q")),
        job_id: name(fields.take_if_any("id")),
    };
    Ok((result, codec))
}

fn name(value: Option<Value>) -> String {
    match value {
        Some(Value::Str(name)) => name,
        _ => UNKNOWN.to_owned(),
    }
}

/// The bytes in that codec; `form` is for the two codecs without exceptions.
pub fn encode_result(
    result: &ArqResult,
    codec: Codec,
    form: FailureForm,
) -> Result<Vec<u8>, EncodeError> {
    let mut map = MapWriter::new(codec, 11);
    map.put("t", &Value::Int(result.job_try.into()))?;
    map.put_text("f", &result.function)?;
    map.put_args("a", &result.args)?;
    map.put_kwargs("k", &result.kwargs)?;
    map.put_time("et", result.enqueued_at)?;
    match &result.outcome {
        Outcome::Returned(value) => {
            map.put("s", &Value::Bool(true))?;
            map.put("r", value)?;
        }
        Outcome::Raised(raised) => {
            map.put("s", &Value::Bool(false))?;
            map.put_raised("r", raised, form)?;
        }
    }
    map.put_time("st", result.started_at)?;
    map.put_time("ft", result.finished_at)?;
    map.put_text("q", &result.queue)?;
    map.put_text("id", &result.job_id)?;
    Ok(map.end())
}
