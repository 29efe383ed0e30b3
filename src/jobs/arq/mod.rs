//! arq's wire format, as arq 0.28 writes and reads it: jobs, results, key names. No I/O.
//!
//! A job is a map `{t, f, a, k, et}`; a result has `s, r, st, ft, q, id` besides. Both are bytes of one of three
//! [`Codec`]s, which are told apart by their first bytes; an answer is written in the codec of its job.
//!
//! Invariants:
//! * Reading builds plain values and runs nothing: a pickle's classes are looked up in a closed table, never in Python.
//! * No length that the bytes claim is believed: what is read is bounded in size, in depth and in memory, also where
//!   a few bytes would unfold into very many.
//! * Writing names no class that came in: the classes in what we write are arq's own and those of plain values.
//!
//! Not here: Redis commands, when a job is due, what a job does.

mod accept;
mod codec;
mod error;
mod fields;
mod health;
mod job;
mod json;
pub mod keys;
mod map_writer;
mod msgpack;
mod pickle;
mod raised;
mod result;
#[cfg(test)]
mod tests;

pub use self::accept::Accept;
pub use self::codec::Codec;
pub use self::error::{DecodeError, EncodeError};
pub use self::health::HealthCheck;
pub use self::job::{ArqJob, decode_job, encode_job};
pub use self::raised::{FailureForm, Raised};
pub use self::result::{ArqResult, Outcome, UNKNOWN, decode_result, encode_result};
