//! What is read of `substrait.Plan` (version 0.74), field for field; relations and expressions that cannot be executed are
//! known by name only.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Plan {
    #[prost(message, repeated, tag = "2")]
    pub(super) extensions: Vec<Extension>,
    #[prost(message, repeated, tag = "3")]
    pub(super) relations: Vec<PlanRel>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Extension {
    #[prost(message, optional, tag = "3")]
    pub(super) function: Option<ExtensionFunction>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExtensionFunction {
    #[prost(uint32, tag = "2")]
    pub(super) anchor: u32,
    /// `add:fp64_fp64`.
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PlanRel {
    #[prost(message, optional, tag = "2")]
    pub(super) root: Option<RelRoot>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RelRoot {
    #[prost(message, optional, tag = "1")]
    pub(super) input: Option<Rel>,
    #[prost(string, repeated, tag = "2")]
    pub(super) names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Rel {
    #[prost(oneof = "RelType", tags = "1, 2, 3, 4, 5, 6, 7, 8, 12")]
    pub(super) kind: Option<RelType>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum RelType {
    #[prost(message, tag = "1")]
    Read(ReadRel),
    #[prost(message, tag = "2")]
    Filter(Unread),
    #[prost(message, tag = "3")]
    Fetch(Unread),
    #[prost(message, tag = "4")]
    Aggregate(Unread),
    #[prost(message, tag = "5")]
    Sort(Unread),
    #[prost(message, tag = "6")]
    Join(Unread),
    #[prost(message, tag = "7")]
    Project(Box<ProjectRel>),
    #[prost(message, tag = "8")]
    Set(Unread),
    #[prost(message, tag = "12")]
    Cross(Unread),
}

/// A message whose fields are of no interest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unread {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RelCommon {
    #[prost(message, optional, tag = "2")]
    pub(super) emit: Option<Emit>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Emit {
    #[prost(int32, repeated, tag = "1")]
    pub(super) output_mapping: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadRel {
    #[prost(message, optional, tag = "1")]
    pub(super) common: Option<RelCommon>,
    #[prost(message, optional, tag = "2")]
    pub(super) base_schema: Option<NamedStruct>,
    #[prost(message, optional, tag = "3")]
    pub(super) filter: Option<Unread>,
    #[prost(message, optional, tag = "4")]
    pub(super) projection: Option<Unread>,
    #[prost(message, optional, tag = "7")]
    pub(super) named_table: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NamedStruct {
    #[prost(string, repeated, tag = "1")]
    pub(super) names: Vec<String>,
    #[prost(message, optional, tag = "2")]
    pub(super) types: Option<Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub(super) types: Vec<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProjectRel {
    #[prost(message, optional, tag = "1")]
    pub(super) common: Option<RelCommon>,
    #[prost(message, optional, boxed, tag = "2")]
    pub(super) input: Option<Box<Rel>>,
    #[prost(message, repeated, tag = "3")]
    pub(super) expressions: Vec<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Expression {
    #[prost(oneof = "ExpressionType", tags = "1, 2, 3, 6, 7, 8, 11")]
    pub(super) kind: Option<ExpressionType>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ExpressionType {
    #[prost(message, tag = "1")]
    Literal(Literal),
    #[prost(message, tag = "2")]
    Selection(FieldReference),
    #[prost(message, tag = "3")]
    Function(ScalarFunction),
    #[prost(message, tag = "6")]
    IfThen(Box<IfThen>),
    #[prost(message, tag = "7")]
    Switch(Box<Switch>),
    #[prost(message, tag = "8")]
    OrList(Box<OrList>),
    #[prost(message, tag = "11")]
    Cast(Box<Cast>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Literal {
    #[prost(
        oneof = "LiteralType",
        tags = "1, 2, 3, 5, 7, 10, 11, 12, 13, 14, 16, 17, 21, 24, 27, 29, 34, 35"
    )]
    pub(super) kind: Option<LiteralType>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum LiteralType {
    #[prost(bool, tag = "1")]
    Boolean(bool),
    #[prost(int32, tag = "2")]
    I8(i32),
    #[prost(int32, tag = "3")]
    I16(i32),
    #[prost(int32, tag = "5")]
    I32(i32),
    #[prost(int64, tag = "7")]
    I64(i64),
    #[prost(float, tag = "10")]
    Fp32(f32),
    #[prost(double, tag = "11")]
    Fp64(f64),
    #[prost(string, tag = "12")]
    String(String),
    #[prost(bytes, tag = "13")]
    Binary(Vec<u8>),
    /// Microseconds, of no time zone.
    #[prost(int64, tag = "14")]
    Timestamp(i64),
    /// Days since the Unix epoch.
    #[prost(int32, tag = "16")]
    Date(i32),
    /// Microseconds of the day.
    #[prost(int64, tag = "17")]
    Time(i64),
    #[prost(string, tag = "21")]
    FixedChar(String),
    #[prost(message, tag = "24")]
    Decimal(DecimalLiteral),
    /// Microseconds.
    #[prost(int64, tag = "27")]
    TimestampTz(i64),
    #[prost(message, tag = "29")]
    Null(Type),
    #[prost(message, tag = "34")]
    PrecisionTimestamp(PrecisionTimestamp),
    #[prost(message, tag = "35")]
    PrecisionTimestampTz(PrecisionTimestamp),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecimalLiteral {
    /// Little endian, two's complement, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) value: Vec<u8>,
    #[prost(int32, tag = "2")]
    pub(super) precision: i32,
    #[prost(int32, tag = "3")]
    pub(super) scale: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PrecisionTimestamp {
    #[prost(int32, tag = "1")]
    pub(super) precision: i32,
    #[prost(int64, tag = "2")]
    pub(super) value: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FieldReference {
    #[prost(message, optional, tag = "1")]
    pub(super) direct: Option<ReferenceSegment>,
    #[prost(message, optional, tag = "3")]
    pub(super) expression: Option<Unread>,
    #[prost(message, optional, tag = "5")]
    pub(super) outer: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReferenceSegment {
    #[prost(message, optional, tag = "2")]
    pub(super) field: Option<StructField>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StructField {
    #[prost(int32, tag = "1")]
    pub(super) field: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) child: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScalarFunction {
    #[prost(uint32, tag = "1")]
    pub(super) function: u32,
    #[prost(message, repeated, tag = "4")]
    pub(super) arguments: Vec<FunctionArgument>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionArgument {
    #[prost(message, optional, tag = "3")]
    pub(super) value: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IfThen {
    #[prost(message, repeated, tag = "1")]
    pub(super) ifs: Vec<IfClause>,
    #[prost(message, optional, boxed, tag = "2")]
    pub(super) otherwise: Option<Box<Expression>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IfClause {
    #[prost(message, optional, tag = "1")]
    pub(super) condition: Option<Expression>,
    #[prost(message, optional, tag = "2")]
    pub(super) then: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Switch {
    #[prost(message, repeated, tag = "1")]
    pub(super) ifs: Vec<IfValue>,
    #[prost(message, optional, boxed, tag = "2")]
    pub(super) otherwise: Option<Box<Expression>>,
    #[prost(message, optional, boxed, tag = "3")]
    pub(super) value: Option<Box<Expression>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IfValue {
    #[prost(message, optional, tag = "1")]
    pub(super) value: Option<Literal>,
    #[prost(message, optional, tag = "2")]
    pub(super) then: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OrList {
    #[prost(message, optional, boxed, tag = "1")]
    pub(super) value: Option<Box<Expression>>,
    #[prost(message, repeated, tag = "2")]
    pub(super) options: Vec<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Cast {
    #[prost(message, optional, tag = "1")]
    pub(super) to: Option<Type>,
    #[prost(message, optional, boxed, tag = "2")]
    pub(super) input: Option<Box<Expression>>,
    /// 1 is: null for what cannot be converted.
    #[prost(int32, tag = "3")]
    pub(super) failure_behavior: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(
        oneof = "TypeKind",
        tags = "1, 2, 3, 5, 7, 10, 11, 12, 13, 14, 16, 17, 24, 29, 33, 34"
    )]
    pub(super) kind: Option<TypeKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum TypeKind {
    #[prost(message, tag = "1")]
    Bool(Unread),
    #[prost(message, tag = "2")]
    I8(Unread),
    #[prost(message, tag = "3")]
    I16(Unread),
    #[prost(message, tag = "5")]
    I32(Unread),
    #[prost(message, tag = "7")]
    I64(Unread),
    #[prost(message, tag = "10")]
    Fp32(Unread),
    #[prost(message, tag = "11")]
    Fp64(Unread),
    #[prost(message, tag = "12")]
    String(Unread),
    #[prost(message, tag = "13")]
    Binary(Unread),
    #[prost(message, tag = "14")]
    Timestamp(Unread),
    #[prost(message, tag = "16")]
    Date(Unread),
    #[prost(message, tag = "17")]
    Time(Unread),
    #[prost(message, tag = "24")]
    Decimal(DecimalType),
    #[prost(message, tag = "29")]
    TimestampTz(Unread),
    #[prost(message, tag = "33")]
    PrecisionTimestamp(PrecisionTimestampType),
    #[prost(message, tag = "34")]
    PrecisionTimestampTz(PrecisionTimestampType),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecimalType {
    #[prost(int32, tag = "1")]
    pub(super) scale: i32,
    #[prost(int32, tag = "2")]
    pub(super) precision: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PrecisionTimestampType {
    #[prost(int32, tag = "1")]
    pub(super) precision: i32,
}
