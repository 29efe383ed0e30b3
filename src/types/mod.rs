//! Plain data that every layer speaks: no I/O, no async, no knowledge of any backend.

pub mod byte_size;
pub mod cell;
pub mod deadline;
pub mod difference;
pub mod dtype;
pub mod feature;
pub mod model_uri;
pub mod names;
pub mod oip;
pub mod prediction;
pub mod request;
pub mod scoring;
pub mod secret;
pub mod signature;
pub mod tensor;
pub mod timestamp;
pub mod urgency;
pub mod value;
