//! The messages of Feast's two serving services, by Feast 0.67's field numbers.
//!
//! Numbers: Feast's `ServingService.proto` and `GrpcServer.proto`, as `tests/fixtures/feast/proto_fields.json` records them
//! from its descriptors; a test holds the messages to that file. A `feast.types.Value` is left as bytes: on the wire a message
//! and bytes are the same, and stored values pass through as they are.

use std::collections::BTreeMap;

use prost::Message;

/// `feast.serving.GetFeastServingInfoRequest`
#[derive(Clone, PartialEq, Message)]
pub struct GetFeastServingInfoRequest {}

/// `feast.serving.GetFeastServingInfoResponse`
#[derive(Clone, PartialEq, Message)]
pub struct GetFeastServingInfoResponse {
    #[prost(string, tag = "1")]
    pub version: String,
}

/// `feast.serving.GetOnlineFeaturesRequest`
#[derive(Clone, PartialEq, Message)]
pub struct GetOnlineFeaturesRequest {
    #[prost(string, optional, tag = "1")]
    pub feature_service: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub features: Option<FeatureList>,
    #[prost(btree_map = "string, message", tag = "3")]
    pub entities: BTreeMap<String, RepeatedValue>,
    #[prost(bool, tag = "4")]
    pub full_feature_names: bool,
    #[prost(btree_map = "string, message", tag = "5")]
    pub request_context: BTreeMap<String, RepeatedValue>,
    #[prost(bool, tag = "6")]
    pub include_feature_view_version_metadata: bool,
}

/// `feast.serving.FeatureList`
#[derive(Clone, PartialEq, Message)]
pub struct FeatureList {
    #[prost(string, repeated, tag = "1")]
    pub val: Vec<String>,
}

/// `feast.types.RepeatedValue`
#[derive(Clone, PartialEq, Message)]
pub struct RepeatedValue {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub val: Vec<Vec<u8>>,
}

/// `feast.serving.GetOnlineFeaturesResponse`
#[derive(Clone, PartialEq, Message)]
pub struct GetOnlineFeaturesResponse {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<GetOnlineFeaturesResponseMetadata>,
    #[prost(message, repeated, tag = "2")]
    pub results: Vec<FeatureVector>,
    #[prost(bool, tag = "3")]
    pub status: bool,
}

/// `feast.serving.GetOnlineFeaturesResponseMetadata`
#[derive(Clone, PartialEq, Message)]
pub struct GetOnlineFeaturesResponseMetadata {
    #[prost(message, optional, tag = "1")]
    pub feature_names: Option<FeatureList>,
    #[prost(message, repeated, tag = "2")]
    pub feature_view_metadata: Vec<FeatureViewMetadata>,
}

/// `feast.serving.FeatureViewMetadata`
#[derive(Clone, PartialEq, Message)]
pub struct FeatureViewMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub version: i32,
}

/// `feast.serving.GetOnlineFeaturesResponse.FeatureVector`
#[derive(Clone, PartialEq, Message)]
pub struct FeatureVector {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub values: Vec<Vec<u8>>,
    /// `feast.serving.FieldStatus`
    #[prost(int32, repeated, tag = "2")]
    pub statuses: Vec<i32>,
    #[prost(message, repeated, tag = "3")]
    pub event_timestamps: Vec<Timestamp>,
}

/// `google.protobuf.Timestamp`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `PushRequest`: one row, as text or as values.
#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    #[prost(btree_map = "string, string", tag = "1")]
    pub features: BTreeMap<String, String>,
    /// The push source, whatever the field is called.
    #[prost(string, tag = "2")]
    pub stream_feature_view: String,
    #[prost(bool, tag = "3")]
    pub allow_registry_cache: bool,
    #[prost(string, tag = "4")]
    pub to: String,
    #[prost(btree_map = "string, bytes", tag = "5")]
    pub typed_features: BTreeMap<String, Vec<u8>>,
}

/// `PushResponse`
#[derive(Clone, PartialEq, Message)]
pub struct PushResponse {
    #[prost(bool, tag = "1")]
    pub status: bool,
}

/// `WriteToOnlineStoreRequest`: one row, as text or as values.
#[derive(Clone, PartialEq, Message)]
pub struct WriteToOnlineStoreRequest {
    #[prost(btree_map = "string, string", tag = "1")]
    pub features: BTreeMap<String, String>,
    #[prost(string, tag = "2")]
    pub feature_view_name: String,
    #[prost(bool, tag = "3")]
    pub allow_registry_cache: bool,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub typed_features: BTreeMap<String, Vec<u8>>,
}

/// `WriteToOnlineStoreResponse`
#[derive(Clone, PartialEq, Message)]
pub struct WriteToOnlineStoreResponse {
    #[prost(bool, tag = "1")]
    pub status: bool,
}

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckResponse {
    /// 1 serving, 2 not serving.
    #[prost(int32, tag = "1")]
    pub status: i32,
}
