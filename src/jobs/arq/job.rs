//! A job on the wire: `{t, f, a, k, et}`.

use super::codec::Objects;
use super::fields::Fields;
use super::map_writer::MapWriter;
use super::{Accept, Codec, DecodeError, EncodeError};
use crate::jobs::value::Value;
use crate::types::timestamp::Timestamp;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ArqJob {
    /// The number of the first try, where the client asks for one above 1.
    pub job_try: Option<u32>,
    pub function: String,
    pub args: Vec<Value>,
    pub kwargs: Vec<(String, Value)>,
    /// In whole milliseconds on the wire.
    pub enqueued_at: Timestamp,
}

/// The job, and the codec to answer in.
///
/// As arq does, it wants all five fields and ignores any others.
pub fn decode_job(bytes: &[u8], accept: &Accept) -> Result<(ArqJob, Codec), DecodeError> {
    let codec = Codec::accepted(bytes, accept)?;
    let mut fields = Fields::of("job", codec.decode(bytes, Objects::Refuse, accept)?)?;
    let job = ArqJob {
        job_try: fields.job_try()?,
        function: fields.text("f")?,
        args: fields.args()?,
        kwargs: fields.kwargs()?,
        enqueued_at: fields.time("et")?,
    };
    Ok((job, codec))
}

pub fn encode_job(job: &ArqJob, codec: Codec) -> Result<Vec<u8>, EncodeError> {
    let mut map = MapWriter::new(codec, 5);
    map.put(
        "t",
        &job.job_try
            .map_or(Value::None, |job_try| Value::Int(job_try.into())),
    )?;
    map.put_text("f", &job.function)?;
    map.put_args("a", &job.args)?;
    map.put_kwargs("k", &job.kwargs)?;
    map.put_time("et", job.enqueued_at)?;
    Ok(map.end())
}
