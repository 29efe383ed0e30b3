//! Substrait's types and literals as Arrow's.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};

use super::proto::{Literal, LiteralType, PrecisionTimestamp, Type, TypeKind};

pub(super) fn data_type(kind: &Type) -> Result<DataType> {
    let Some(kind) = &kind.kind else {
        return plan_err!("it uses a type that is not known here");
    };
    Ok(match kind {
        TypeKind::Bool(_) => DataType::Boolean,
        TypeKind::I8(_) => DataType::Int8,
        TypeKind::I16(_) => DataType::Int16,
        TypeKind::I32(_) => DataType::Int32,
        TypeKind::I64(_) => DataType::Int64,
        TypeKind::Fp32(_) => DataType::Float32,
        TypeKind::Fp64(_) => DataType::Float64,
        TypeKind::String(_) => DataType::Utf8,
        TypeKind::Binary(_) => DataType::Binary,
        TypeKind::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        TypeKind::TimestampTz(_) => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        TypeKind::Date(_) => DataType::Date32,
        TypeKind::Time(_) => DataType::Time64(TimeUnit::Microsecond),
        TypeKind::Decimal(decimal) => decimal_type(decimal.precision, decimal.scale)?,
        TypeKind::PrecisionTimestamp(time) => DataType::Timestamp(unit(time.precision)?, None),
        TypeKind::PrecisionTimestampTz(time) => DataType::Timestamp(unit(time.precision)?, utc()),
    })
}

pub(super) fn literal(literal: &Literal) -> Result<ScalarValue> {
    let Some(kind) = &literal.kind else {
        return plan_err!("it has a literal of a type that is not known here");
    };
    Ok(match kind {
        LiteralType::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        LiteralType::I8(number) => ScalarValue::Int8(i8::try_from(*number).ok()),
        LiteralType::I16(number) => ScalarValue::Int16(i16::try_from(*number).ok()),
        LiteralType::I32(number) => ScalarValue::Int32(Some(*number)),
        LiteralType::I64(number) => ScalarValue::Int64(Some(*number)),
        LiteralType::Fp32(number) => ScalarValue::Float32(Some(*number)),
        LiteralType::Fp64(number) => ScalarValue::Float64(Some(*number)),
        LiteralType::String(text) | LiteralType::FixedChar(text) => {
            ScalarValue::Utf8(Some(text.clone()))
        }
        LiteralType::Binary(bytes) => ScalarValue::Binary(Some(bytes.clone())),
        LiteralType::Timestamp(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), None),
        LiteralType::TimestampTz(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), utc()),
        LiteralType::Date(days) => ScalarValue::Date32(Some(*days)),
        LiteralType::Time(micros) => ScalarValue::Time64Microsecond(Some(*micros)),
        LiteralType::PrecisionTimestamp(time) => precise(time, None)?,
        LiteralType::PrecisionTimestampTz(time) => precise(time, utc())?,
        LiteralType::Decimal(decimal) => {
            let DataType::Decimal128(precision, scale) =
                decimal_type(decimal.precision, decimal.scale)?
            else {
                return plan_err!("it has a decimal that is too long");
            };
            let Ok(bytes) = <[u8; 16]>::try_from(decimal.value.as_slice()) else {
                return plan_err!("it has a decimal that is not 16 bytes long");
            };
            ScalarValue::Decimal128(Some(i128::from_le_bytes(bytes)), precision, scale)
        }
        LiteralType::Null(kind) => ScalarValue::try_from(&data_type(kind)?)?,
    })
}

fn utc() -> Option<std::sync::Arc<str>> {
    Some("UTC".into())
}

fn decimal_type(precision: i32, scale: i32) -> Result<DataType> {
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => Ok(DataType::Decimal128(precision, scale)),
        _ => plan_err!("it has a decimal of {precision} digits, {scale} of them behind the point"),
    }
}

/// Digits behind the point of a second.
fn unit(precision: i32) -> Result<TimeUnit> {
    match precision {
        0 => Ok(TimeUnit::Second),
        3 => Ok(TimeUnit::Millisecond),
        6 => Ok(TimeUnit::Microsecond),
        9 => Ok(TimeUnit::Nanosecond),
        other => plan_err!("it has a time of {other} digits behind the second"),
    }
}

fn precise(time: &PrecisionTimestamp, zone: Option<std::sync::Arc<str>>) -> Result<ScalarValue> {
    let value = Some(time.value);
    Ok(match unit(time.precision)? {
        TimeUnit::Second => ScalarValue::TimestampSecond(value, zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(value, zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(value, zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(value, zone),
    })
}
