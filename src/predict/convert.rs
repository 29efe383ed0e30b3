//! One value into one tensor element: the conversion rules of the product, in one place.
//!
//! Numbers and booleans convert to floating point (to the nearest); integers narrow only if the value fits;
//! floating point never becomes an integer, text never becomes a number, a number never becomes text.
//! Null is NaN in floating point and nothing anywhere else.
//! Not here: which value goes where (`plan`), what to do about a missing feature (`assemble`).

use half::{bf16, f16};

use crate::types::cell::Cell;
use crate::types::dtype::DType;
use crate::types::value::Value;

/// A scalar on its way into a tensor, wherever it came from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// Wide enough for every 64-bit integer, signed or not.
    Int(i128),
    Float(f64),
    Text(&'a str),
}

/// What stands where a scalar should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The type on offer.
    Type(&'static str),
    /// An integer outside the range of the wanted type.
    Range,
    Null,
}

impl<'a> Scalar<'a> {
    pub(super) fn of_cell(cell: &'a Cell) -> Result<Self, Mismatch> {
        Ok(match cell {
            Cell::Null => Self::Null,
            Cell::Bool(value) => Self::Bool(*value),
            Cell::Int(value) => Self::Int(i128::from(*value)),
            Cell::UInt(value) => Self::Int(i128::from(*value)),
            Cell::Float(value) => Self::Float(*value),
            Cell::Text(text) => Self::Text(text),
            Cell::List(_) => return Err(Mismatch::Type("list")),
        })
    }

    pub(super) fn of_value(value: &'a Value) -> Result<Self, Mismatch> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int32(value) => Self::Int(i128::from(*value)),
            Value::Int64(value) | Value::UnixTimestamp(value) => Self::Int(i128::from(*value)),
            Value::Double(value) => Self::Float(*value),
            Value::Float(value) => Self::Float(f64::from(*value)),
            Value::String(text) | Value::Text(_, text) => Self::Text(text),
            other => return Err(Mismatch::Type(other.type_name())),
        })
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "floating point",
            Self::Text(_) => "string",
        }
    }

    /// The number as floating point of the declared precision; the graph may then take it in another one.
    fn float(self, declared: DType) -> Result<f64, Mismatch> {
        let number = match self {
            Self::Null => f64::NAN,
            Self::Bool(value) => f64::from(u8::from(value)),
            #[expect(clippy::cast_precision_loss, reason = "to the nearest is the rule")]
            Self::Int(value) if declared == DType::Float32 => f64::from(value as f32),
            #[expect(clippy::cast_precision_loss, reason = "to the nearest is the rule")]
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
            Self::Text(_) => return Err(Mismatch::Type(self.type_name())),
        };
        Ok(number)
    }

    fn integer<T: TryFrom<i128>>(self) -> Result<T, Mismatch> {
        let number = match self {
            Self::Null => return Err(Mismatch::Null),
            Self::Bool(value) => i128::from(value),
            Self::Int(value) => value,
            Self::Float(_) | Self::Text(_) => return Err(Mismatch::Type(self.type_name())),
        };
        T::try_from(number).map_err(|_| Mismatch::Range)
    }
}

/// Whether the value can stand in a column that declares `declared`; the word for what it is if it cannot.
pub(super) fn check(value: &Value, declared: DType) -> Result<(), &'static str> {
    let scalar = match value {
        Value::Values(values) => return values.iter().try_for_each(|value| check(value, declared)),
        value => Scalar::of_value(value),
    };
    let fits = scalar.and_then(|scalar| match declared {
        DType::Bool => bool::from_scalar(scalar, declared).map(drop),
        DType::String => String::from_scalar(scalar, declared).map(drop),
        _ => f64::from_scalar(scalar, declared).map(drop),
    });
    fits.map_err(|mismatch| match mismatch {
        Mismatch::Type(actual) => actual,
        Mismatch::Range => "integer out of range",
        Mismatch::Null => "null",
    })
}

/// An element type of a tensor.
pub(super) trait Element: Sized + Clone {
    /// `declared` is the type that the signature states; the element's own type is the graph's.
    fn from_scalar(scalar: Scalar<'_>, declared: DType) -> Result<Self, Mismatch>;
}

/// Integers that the signature declares must be integers even where the graph takes floating point.
fn check_declared(scalar: Scalar<'_>, declared: DType) -> Result<(), Mismatch> {
    match declared {
        DType::Bool if !matches!(scalar, Scalar::Bool(_) | Scalar::Null) => {
            Err(Mismatch::Type(scalar.type_name()))
        }
        DType::Int8 => scalar.integer::<i8>().map(drop),
        DType::Int16 => scalar.integer::<i16>().map(drop),
        DType::Int32 => scalar.integer::<i32>().map(drop),
        DType::Int64 => scalar.integer::<i64>().map(drop),
        DType::UInt8 => scalar.integer::<u8>().map(drop),
        DType::UInt16 => scalar.integer::<u16>().map(drop),
        DType::UInt32 => scalar.integer::<u32>().map(drop),
        DType::UInt64 => scalar.integer::<u64>().map(drop),
        _ => Ok(()),
    }
}

impl Element for f16 {
    fn from_scalar(scalar: Scalar<'_>, declared: DType) -> Result<Self, Mismatch> {
        check_declared(scalar, declared)?;
        Ok(Self::from_f64(scalar.float(declared)?))
    }
}

impl Element for bf16 {
    fn from_scalar(scalar: Scalar<'_>, declared: DType) -> Result<Self, Mismatch> {
        check_declared(scalar, declared)?;
        Ok(Self::from_f64(scalar.float(declared)?))
    }
}

impl Element for f32 {
    fn from_scalar(scalar: Scalar<'_>, declared: DType) -> Result<Self, Mismatch> {
        check_declared(scalar, declared)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "to the nearest is the rule"
        )]
        Ok(scalar.float(declared)? as Self)
    }
}

impl Element for f64 {
    fn from_scalar(scalar: Scalar<'_>, declared: DType) -> Result<Self, Mismatch> {
        check_declared(scalar, declared)?;
        let number = scalar.float(declared)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the declared precision is the narrower one"
        )]
        Ok(if declared == DType::Float32 {
            Self::from(number as f32)
        } else {
            number
        })
    }
}

impl Element for bool {
    fn from_scalar(scalar: Scalar<'_>, _: DType) -> Result<Self, Mismatch> {
        match scalar {
            Scalar::Bool(value) => Ok(value),
            Scalar::Null => Err(Mismatch::Null),
            other => Err(Mismatch::Type(other.type_name())),
        }
    }
}

impl Element for String {
    fn from_scalar(scalar: Scalar<'_>, _: DType) -> Result<Self, Mismatch> {
        match scalar {
            Scalar::Text(text) => Ok(text.to_owned()),
            Scalar::Null => Err(Mismatch::Null),
            other => Err(Mismatch::Type(other.type_name())),
        }
    }
}

macro_rules! integer_elements {
    ($($type:ty),*) => {
        $(impl Element for $type {
            fn from_scalar(scalar: Scalar<'_>, declared: DType) -> Result<Self, Mismatch> {
                check_declared(scalar, declared)?;
                scalar.integer()
            }
        })*
    };
}

integer_elements!(i8, i16, i32, i64, u8, u16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_convert_to_floating_point_to_the_nearest() {
        assert_eq!(
            f32::from_scalar(Scalar::Int(16_777_217), DType::Float64),
            Ok(16_777_216.0)
        );
        assert_eq!(
            f32::from_scalar(Scalar::Float(0.1), DType::Float64),
            Ok(0.1)
        );
        assert_eq!(
            f64::from_scalar(Scalar::Float(0.1), DType::Float32),
            Ok(f64::from(0.1_f32))
        );
        assert_eq!(
            f32::from_scalar(Scalar::Bool(true), DType::Float64),
            Ok(1.0)
        );
        assert!(
            f32::from_scalar(Scalar::Null, DType::Float64)
                .unwrap()
                .is_nan()
        );
    }

    #[test]
    fn integers_narrow_only_if_the_value_fits() {
        assert_eq!(i32::from_scalar(Scalar::Int(7), DType::Int32), Ok(7));
        assert_eq!(
            i32::from_scalar(Scalar::Int(1 << 31), DType::Int32),
            Err(Mismatch::Range)
        );
        assert_eq!(
            f32::from_scalar(Scalar::Int(1 << 31), DType::Int32),
            Err(Mismatch::Range)
        );
        assert_eq!(
            u64::from_scalar(Scalar::Int(i128::from(u64::MAX)), DType::UInt64),
            Ok(u64::MAX)
        );
    }

    #[test]
    fn floating_point_never_becomes_an_integer() {
        assert_eq!(
            i64::from_scalar(Scalar::Float(3.0), DType::Int64),
            Err(Mismatch::Type("floating point"))
        );
        assert_eq!(
            f32::from_scalar(Scalar::Float(3.0), DType::Int64),
            Err(Mismatch::Type("floating point"))
        );
    }

    #[test]
    fn text_never_becomes_a_number_and_a_number_never_becomes_text() {
        assert_eq!(
            f64::from_scalar(Scalar::Text("1"), DType::Float64),
            Err(Mismatch::Type("string"))
        );
        assert_eq!(
            String::from_scalar(Scalar::Int(1), DType::String),
            Err(Mismatch::Type("integer"))
        );
    }

    #[test]
    fn null_is_nothing_but_in_floating_point() {
        assert_eq!(
            i64::from_scalar(Scalar::Null, DType::Int64),
            Err(Mismatch::Null)
        );
        assert_eq!(
            bool::from_scalar(Scalar::Null, DType::Bool),
            Err(Mismatch::Null)
        );
        assert_eq!(
            String::from_scalar(Scalar::Null, DType::String),
            Err(Mismatch::Null)
        );
    }
}
