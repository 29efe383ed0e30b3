//! The messages of `feast.serving.TransformationService` (Feast 0.67), field for field.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServiceInfoRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServiceInfoResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    /// 1 is Python.
    #[prost(int32, tag = "2")]
    pub(super) kind: i32,
    #[prost(string, tag = "3")]
    pub(super) details: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransformRequest {
    #[prost(string, tag = "1")]
    pub(super) view: String,
    #[prost(string, tag = "2")]
    pub(super) project: String,
    #[prost(message, optional, tag = "3")]
    pub(super) input: Option<ArrowValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TransformResponse {
    #[prost(message, optional, tag = "3")]
    pub(super) output: Option<ArrowValue>,
}

/// `ValueType` of the service.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ArrowValue {
    /// An Arrow IPC file: not a stream.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) file: Option<Vec<u8>>,
}
