//! How work is queued: the values that jobs carry, and arq's wire format.
//!
//! Not here: what a job does.

pub mod arq;
pub mod value;
