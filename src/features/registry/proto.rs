//! The messages of Feast's registry, written by hand: only the fields that serving needs, with Feast 0.67's numbers.
//!
//! Unknown fields are skipped, so newer registries still load. Bytes may come from anywhere: prost bounds recursion and
//! never allocates more than the message holds.

use std::collections::HashMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entity {
    #[prost(message, optional, tag = "1")]
    pub(super) spec: Option<EntitySpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EntitySpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) value_type: i32,
    #[prost(string, tag = "3")]
    pub(super) description: String,
    #[prost(string, tag = "4")]
    pub(super) join_key: String,
    #[prost(string, tag = "9")]
    pub(super) project: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureSpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) value_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureView {
    #[prost(message, optional, tag = "1")]
    pub(super) spec: Option<FeatureViewSpec>,
    #[prost(message, optional, tag = "2")]
    pub(super) meta: Option<FeatureViewMeta>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureViewSpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) project: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) entities: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(super) features: Vec<FeatureSpec>,
    #[prost(message, optional, tag = "6")]
    pub(super) ttl: Option<Span>,
    #[prost(message, optional, tag = "7")]
    pub(super) batch_source: Option<DataSource>,
    #[prost(bool, tag = "8")]
    pub(super) online: bool,
    #[prost(message, optional, tag = "9")]
    pub(super) stream_source: Option<DataSource>,
    #[prost(string, tag = "10")]
    pub(super) description: String,
    #[prost(message, repeated, tag = "12")]
    pub(super) entity_columns: Vec<FeatureSpec>,
    #[prost(bool, tag = "20")]
    pub(super) disabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamFeatureView {
    #[prost(message, optional, tag = "1")]
    pub(super) spec: Option<StreamFeatureViewSpec>,
    #[prost(message, optional, tag = "2")]
    pub(super) meta: Option<FeatureViewMeta>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamFeatureViewSpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) project: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) entities: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(super) features: Vec<FeatureSpec>,
    #[prost(message, repeated, tag = "5")]
    pub(super) entity_columns: Vec<FeatureSpec>,
    #[prost(string, tag = "6")]
    pub(super) description: String,
    #[prost(message, optional, tag = "9")]
    pub(super) ttl: Option<Span>,
    #[prost(message, optional, tag = "10")]
    pub(super) batch_source: Option<DataSource>,
    #[prost(message, optional, tag = "11")]
    pub(super) stream_source: Option<DataSource>,
    #[prost(bool, tag = "12")]
    pub(super) online: bool,
    #[prost(bool, tag = "23")]
    pub(super) disabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureViewMeta {
    #[prost(message, repeated, tag = "3")]
    pub(super) materialization_intervals: Vec<Interval>,
    #[prost(int32, tag = "4")]
    pub(super) current_version_number: i32,
    #[prost(int32, tag = "6")]
    pub(super) state: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Interval {
    #[prost(message, optional, tag = "1")]
    pub(super) start_time: Option<Span>,
    #[prost(message, optional, tag = "2")]
    pub(super) end_time: Option<Span>,
}

/// `google.protobuf.Duration` and `google.protobuf.Timestamp`, which look alike.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Span {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OnDemandFeatureView {
    #[prost(message, optional, tag = "1")]
    pub(super) spec: Option<OnDemandFeatureViewSpec>,
    #[prost(message, optional, tag = "2")]
    pub(super) meta: Option<OnDemandFeatureViewMeta>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OnDemandFeatureViewSpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) project: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) features: Vec<FeatureSpec>,
    #[prost(map = "string, message", tag = "4")]
    pub(super) sources: HashMap<String, OnDemandSource>,
    /// Where registries of old Feast versions keep the function.
    #[prost(message, optional, tag = "5")]
    pub(super) user_defined_function: Option<UserDefinedFunction>,
    #[prost(string, tag = "6")]
    pub(super) description: String,
    #[prost(message, optional, tag = "10")]
    pub(super) feature_transformation: Option<FeatureTransformation>,
    #[prost(string, tag = "11")]
    pub(super) mode: String,
    #[prost(bool, tag = "12")]
    pub(super) write_to_online_store: bool,
    #[prost(string, repeated, tag = "13")]
    pub(super) entities: Vec<String>,
    #[prost(message, repeated, tag = "14")]
    pub(super) entity_columns: Vec<FeatureSpec>,
    #[prost(bool, tag = "15")]
    pub(super) singleton: bool,
    #[prost(bool, tag = "19")]
    pub(super) disabled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OnDemandFeatureViewMeta {
    #[prost(int32, tag = "3")]
    pub(super) current_version_number: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OnDemandSource {
    #[prost(message, optional, tag = "1")]
    pub(super) feature_view: Option<FeatureView>,
    #[prost(message, optional, tag = "2")]
    pub(super) request_data_source: Option<DataSource>,
    #[prost(message, optional, tag = "3")]
    pub(super) feature_view_projection: Option<Projection>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureTransformation {
    #[prost(message, optional, tag = "1")]
    pub(super) user_defined_function: Option<UserDefinedFunction>,
    #[prost(message, optional, tag = "2")]
    pub(super) substrait_transformation: Option<SubstraitTransformation>,
}

/// Its pickled body is never read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UserDefinedFunction {
    #[prost(string, tag = "3")]
    pub(super) body_text: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SubstraitTransformation {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) substrait_plan: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureService {
    #[prost(message, optional, tag = "1")]
    pub(super) spec: Option<FeatureServiceSpec>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FeatureServiceSpec {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) project: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) features: Vec<Projection>,
    #[prost(string, tag = "5")]
    pub(super) description: String,
    #[prost(bool, tag = "8")]
    pub(super) precompute_online: bool,
}

/// Recorded projections hold the *created* column in field 5, so neither it nor their sources are read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Projection {
    #[prost(string, tag = "1")]
    pub(super) feature_view_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) feature_columns: Vec<FeatureSpec>,
    #[prost(string, tag = "3")]
    pub(super) feature_view_name_alias: String,
    #[prost(map = "string, string", tag = "4")]
    pub(super) join_key_map: HashMap<String, String>,
    #[prost(int32, optional, tag = "10")]
    pub(super) version_tag: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DataSource {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(map = "string, string", tag = "2")]
    pub(super) field_mapping: HashMap<String, String>,
    #[prost(string, tag = "3")]
    pub(super) timestamp_field: String,
    #[prost(string, tag = "5")]
    pub(super) created_timestamp_column: String,
    #[prost(message, optional, tag = "11")]
    pub(super) file_options: Option<FileOptions>,
    #[prost(message, optional, tag = "16")]
    pub(super) custom_options: Option<CustomOptions>,
    #[prost(string, tag = "17")]
    pub(super) data_source_class_type: String,
    #[prost(message, optional, tag = "18")]
    pub(super) request_options: Option<RequestOptions>,
    #[prost(string, tag = "20")]
    pub(super) name: String,
    #[prost(message, optional, boxed, tag = "26")]
    pub(super) batch_source: Option<Box<DataSource>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FileOptions {
    #[prost(string, tag = "2")]
    pub(super) uri: String,
    #[prost(string, tag = "3")]
    pub(super) s3_endpoint_override: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CustomOptions {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) configuration: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestOptions {
    #[prost(message, repeated, tag = "3")]
    pub(super) schema: Vec<FeatureSpec>,
}
