//! Feature values as bytes: `feast.types.Value` and `google.protobuf.Timestamp`, as Feast's online stores hold them.
//!
//! A null is no bytes at all; `null_val` (field 19) reads as null too. Bytes may be hostile: nothing panics, recursion is
//! bounded, and memory grows only with the bytes that are really there.
//! Not here: where the bytes lie (`online`).

mod decode;
mod encode;
mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use decode::{decode, decode_timestamp};
pub use encode::{encode, encode_timestamp};
pub use scalar::{Scalar, is_null, scalar};
pub use wire::WireError;
