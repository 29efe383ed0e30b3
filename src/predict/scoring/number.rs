//! One value into the type that a signature declares, as leniently as MLflow's scoring server does it.
//!
//! Three dialects, as the server uses three libraries: pandas casts the columns of a frame, NumPy the values of
//! `inputs` and `instances`, and pandas' CSV reader text. Checked against recorded calls of MLflow 3.17.2 with
//! pandas 2.3.3. Reasons are NumPy's and pandas' words.

use std::num::FpCategory;

use crate::types::cell::Cell;
use crate::types::dtype::DType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `Series.astype`. Integers too large for a narrow type wrap round. With `strict` a number beyond 64 bits becomes
    /// what the conversion instruction gives for it, without it that is an error.
    Pandas { strict: bool },
    /// `numpy.array(value, dtype)`.
    Numpy,
    /// `pandas.read_csv(dtype=...)`.
    Csv,
}

/// The value as a cell of the declared type. Floating-point columns take integers, booleans and null as they are: the
/// conversion to the model's own precision comes later.
pub(super) fn cell(value: &Cell, wanted: DType, dialect: Dialect) -> Result<Cell, String> {
    match wanted {
        DType::Float16 | DType::BFloat16 | DType::Float32 | DType::Float64 => match value {
            Cell::Text(_) | Cell::List(_) => float(value).map(Cell::Float),
            number => Ok(number.clone()),
        },
        DType::Bool => boolean(value, dialect).map(Cell::Bool),
        DType::String => text(value, dialect).map(Cell::Text),
        _ => {
            let integer = integer(value, wanted, dialect)?;
            Ok(match (i64::try_from(integer), u64::try_from(integer)) {
                (Ok(value), _) => Cell::Int(value),
                (_, Ok(value)) => Cell::UInt(value),
                _ => return Err(out_of_bounds(&integer, wanted)),
            })
        }
    }
}

pub(super) fn float(value: &Cell) -> Result<f64, String> {
    #[expect(clippy::cast_precision_loss, reason = "to the nearest, as NumPy")]
    match value {
        Cell::Null => Ok(f64::NAN),
        Cell::Bool(value) => Ok(f64::from(u8::from(*value))),
        Cell::Int(value) => Ok(*value as f64),
        Cell::UInt(value) => Ok(*value as f64),
        Cell::Float(value) => Ok(*value),
        Cell::Text(text) => {
            python_float(text).ok_or_else(|| format!("could not convert string to float: '{text}'"))
        }
        Cell::List(_) => Err(SEQUENCE.to_owned()),
    }
}

pub(super) const SEQUENCE: &str = "setting an array element with a sequence.";

/// An integer within the range of `wanted`.
pub(super) fn integer(value: &Cell, wanted: DType, dialect: Dialect) -> Result<i128, String> {
    match value {
        Cell::Bool(value) if dialect != Dialect::Csv => Ok(i128::from(*value)),
        Cell::Int(value) => in_range(i128::from(*value), wanted, dialect),
        Cell::UInt(value) => in_range(i128::from(*value), wanted, dialect),
        Cell::Float(value) => truncated(*value, wanted, dialect),
        Cell::Text(text) if dialect == Dialect::Csv => integer_of_csv(text, wanted),
        Cell::Text(text) => match python_integer(text) {
            // Read as a Python integer, which wraps nowhere.
            Some(value) => in_range(value, wanted, Dialect::Numpy),
            None => Err(format!("invalid literal for int() with base 10: '{text}'")),
        },
        Cell::List(_) => Err(SEQUENCE.to_owned()),
        Cell::Null | Cell::Bool(_) => Err(match dialect {
            Dialect::Numpy => "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'",
            Dialect::Pandas { .. } => NON_FINITE,
            Dialect::Csv => "Integer column has NA values",
        }
        .to_owned()),
    }
}

/// Also one with a fraction of zero, which the reader takes for floating point first.
fn integer_of_csv(text: &str, wanted: DType) -> Result<i128, String> {
    if let Some(value) = python_integer(text) {
        return in_range(value, wanted, Dialect::Csv);
    }
    match python_float(text) {
        Some(value) if value.fract() == 0.0 => truncated(value, wanted, Dialect::Csv),
        Some(_) => Err(format!(
            "cannot safely convert passed user dtype of {wanted} for '{text}'"
        )),
        None => Err(format!("invalid literal for int() with base 10: '{text}'")),
    }
}

const NON_FINITE: &str = "Cannot convert non-finite values (NA or inf) to integer";

fn in_range(value: i128, wanted: DType, dialect: Dialect) -> Result<i128, String> {
    let (least, greatest) = range(wanted);
    if (least..=greatest).contains(&value) {
        return Ok(value);
    }
    let is_wide = value > i128::from(i64::MAX);
    match dialect {
        Dialect::Pandas { strict: true } => Ok(wrapped(value, wanted)),
        Dialect::Pandas { .. } | Dialect::Csv if !is_wide => Ok(wrapped(value, wanted)),
        _ => Err(out_of_bounds(&value, wanted)),
    }
}

fn truncated(value: f64, wanted: DType, dialect: Dialect) -> Result<i128, String> {
    match (value.classify(), dialect) {
        (FpCategory::Nan, Dialect::Numpy) => {
            return Err("cannot convert float NaN to integer".to_owned());
        }
        (FpCategory::Infinite, Dialect::Numpy) => {
            return Err("cannot convert float infinity to integer".to_owned());
        }
        (FpCategory::Nan | FpCategory::Infinite, _) => return Err(NON_FINITE.to_owned()),
        _ => {}
    }
    let (least, greatest) = range(wanted);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "towards zero, and saturating"
    )]
    let whole = value.trunc() as i128;
    if (least..=greatest).contains(&whole) {
        Ok(whole)
    } else if dialect == (Dialect::Pandas { strict: true }) {
        // What x86's conversion instruction gives.
        Ok(least)
    } else {
        Err(out_of_bounds(&value, wanted))
    }
}

fn out_of_bounds(value: &dyn std::fmt::Display, wanted: DType) -> String {
    format!("Python integer {value} out of bounds for {wanted}")
}

/// The least and the greatest value.
fn range(wanted: DType) -> (i128, i128) {
    match wanted {
        DType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DType::UInt8 => (0, u8::MAX.into()),
        DType::UInt16 => (0, u16::MAX.into()),
        DType::UInt32 => (0, u32::MAX.into()),
        DType::UInt64 => (0, u64::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "wrapping round is the point"
)]
fn wrapped(value: i128, wanted: DType) -> i128 {
    match wanted {
        DType::Int8 => (value as i8).into(),
        DType::Int16 => (value as i16).into(),
        DType::Int32 => (value as i32).into(),
        DType::UInt8 => (value as u8).into(),
        DType::UInt16 => (value as u16).into(),
        DType::UInt32 => (value as u32).into(),
        DType::UInt64 => (value as u64).into(),
        _ => (value as i64).into(),
    }
}

/// Python's truth: any text that is not empty is true, `"false"` included.
pub(super) fn boolean(value: &Cell, dialect: Dialect) -> Result<bool, String> {
    match value {
        Cell::Text(text) if dialect == Dialect::Csv => match text.as_str() {
            "True" | "TRUE" | "true" => Ok(true),
            "False" | "FALSE" | "false" => Ok(false),
            _ => match python_integer(text) {
                Some(value) => Ok(value != 0),
                None => Err(format!(
                    "cannot safely convert passed user dtype of bool for '{text}'"
                )),
            },
        },
        Cell::Null if dialect == Dialect::Csv => Err("Bool column has NA values".to_owned()),
        Cell::Null => Ok(false),
        Cell::Bool(value) => Ok(*value),
        Cell::Int(value) => Ok(*value != 0),
        Cell::UInt(value) => Ok(*value != 0),
        Cell::Float(value) => Ok(*value != 0.0),
        Cell::Text(text) => Ok(!text.is_empty()),
        Cell::List(_) => Err(SEQUENCE.to_owned()),
    }
}

/// Python's text of the value.
pub(super) fn text(value: &Cell, dialect: Dialect) -> Result<String, String> {
    Ok(match value {
        Cell::Null if dialect == Dialect::Csv => "nan".to_owned(),
        Cell::Null => "None".to_owned(),
        Cell::Bool(true) => "True".to_owned(),
        Cell::Bool(false) => "False".to_owned(),
        Cell::Int(value) => value.to_string(),
        Cell::UInt(value) => value.to_string(),
        Cell::Float(value) => python_repr(*value),
        Cell::Text(text) => text.clone(),
        Cell::List(_) => return Err(SEQUENCE.to_owned()),
    })
}

/// `float(text)`: blanks around it, and underscores between digits.
pub(super) fn python_float(text: &str) -> Option<f64> {
    without_underscores(text)?.parse().ok()
}

/// `int(text)`.
pub(super) fn python_integer(text: &str) -> Option<i128> {
    without_underscores(text)?.parse().ok()
}

fn without_underscores(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    let text = text.trim();
    if !text.contains('_') {
        return Some(text.into());
    }
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_digit)
    };
    let between_digits = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    let underscores = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    underscores
        .map(|(at, _)| at)
        .all(between_digits)
        .then(|| text.replace('_', "").into())
}

/// `repr(value)`: the shortest digits that give the number back.
fn python_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    match exponent {
        -4..16 => format!("{value:?}"),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANDAS: Dialect = Dialect::Pandas { strict: false };
    const STRICT: Dialect = Dialect::Pandas { strict: true };

    fn text_cell(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn integers_are_taken_from_whatever_is_one() {
        let cases = [
            (Cell::Int(30), PANDAS, Ok(30)),
            (Cell::Float(30.9), PANDAS, Ok(30)),
            (Cell::Float(-30.9), Dialect::Numpy, Ok(-30)),
            (Cell::Bool(true), PANDAS, Ok(1)),
            (text_cell(" 3_0 "), PANDAS, Ok(30)),
            (
                text_cell("30.5"),
                PANDAS,
                Err("invalid literal for int() with base 10: '30.5'"),
            ),
            (
                text_cell("3__0"),
                PANDAS,
                Err("invalid literal for int() with base 10: '3__0'"),
            ),
            (Cell::Null, PANDAS, Err(NON_FINITE)),
            (
                Cell::Null,
                Dialect::Csv,
                Err("Integer column has NA values"),
            ),
            (
                Cell::Float(f64::NAN),
                Dialect::Numpy,
                Err("cannot convert float NaN to integer"),
            ),
            (Cell::List(vec![]), PANDAS, Err(SEQUENCE)),
        ];
        for (value, dialect, wanted) in cases {
            let actual = integer(&value, DType::Int64, dialect);
            assert_eq!(
                actual,
                wanted.map_err(str::to_owned),
                "{value:?} {dialect:?}"
            );
        }
    }

    #[test]
    fn a_frame_wraps_narrow_integers_and_only_strictly_wide_ones() {
        let narrow = Cell::Int(3_000_000_000);
        assert_eq!(integer(&narrow, DType::Int32, PANDAS), Ok(-1_294_967_296));
        assert_eq!(
            integer(&narrow, DType::Int32, Dialect::Numpy),
            Err("Python integer 3000000000 out of bounds for int32".to_owned())
        );
        for wide in [Cell::UInt(1 << 63), Cell::Float(1e300)] {
            assert!(integer(&wide, DType::Int64, PANDAS).is_err());
            assert_eq!(integer(&wide, DType::Int64, STRICT), Ok(i64::MIN.into()));
        }
    }

    #[test]
    fn truth_is_pythons_but_in_csv() {
        for (value, truth) in [
            (text_cell("false"), true),
            (text_cell(""), false),
            (Cell::Null, false),
            (Cell::Float(0.5), true),
            (Cell::Int(0), false),
        ] {
            assert_eq!(boolean(&value, PANDAS), Ok(truth), "{value:?}");
        }
        assert_eq!(boolean(&text_cell("false"), Dialect::Csv), Ok(false));
        assert_eq!(boolean(&text_cell("1"), Dialect::Csv), Ok(true));
        assert!(boolean(&text_cell("yes"), Dialect::Csv).is_err());
    }

    #[test]
    fn csv_has_integers_with_a_fraction_of_zero() {
        for (text, wanted, value) in [
            ("30", DType::Int64, Ok(30)),
            ("30.0", DType::Int64, Ok(30)),
            ("3000000000", DType::Int32, Ok(-1_294_967_296)),
            ("30.5", DType::Int64, Err(())),
            ("x", DType::Int64, Err(())),
            ("99999999999999999999", DType::Int64, Err(())),
        ] {
            let actual = integer(&text_cell(text), wanted, Dialect::Csv);
            assert_eq!(actual.map_err(drop), value, "{text}");
        }
    }

    #[test]
    fn numbers_become_the_text_that_python_gives_them() {
        for (value, wanted) in [
            (Cell::Float(1.5), "1.5"),
            (Cell::Float(2.0), "2.0"),
            (Cell::Float(1e16), "1e+16"),
            (Cell::Float(0.00001), "1e-05"),
            (Cell::Float(123_456_789.0), "123456789.0"),
            (Cell::Int(-7), "-7"),
            (Cell::Bool(true), "True"),
            (Cell::Null, "None"),
        ] {
            assert_eq!(text(&value, PANDAS).unwrap(), wanted);
        }
    }

    #[test]
    fn a_floating_point_column_takes_every_number_and_numeric_text() {
        for (value, wanted) in [
            (text_cell("1.5"), Cell::Float(1.5)),
            (text_cell("1e3"), Cell::Float(1000.0)),
            (Cell::Int(1), Cell::Int(1)),
            (Cell::Null, Cell::Null),
        ] {
            assert_eq!(cell(&value, DType::Float64, PANDAS), Ok(wanted));
        }
        assert_eq!(
            cell(&text_cell("a"), DType::Float64, PANDAS),
            Err("could not convert string to float: 'a'".to_owned())
        );
    }
}
