//! Element types, with their names in every product that we speak to: one table.

use std::fmt;

/// The element type of a tensor or of a signature column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float16,
    Float32,
    Float64,
    String,
    /// Raw bytes; an MLflow column type that no ONNX tensor has.
    Binary,
    /// A moment in time; an MLflow column type that no ONNX tensor has.
    Datetime,
}

struct Names {
    dtype: DType,
    /// In an MLflow column signature; absent where it has no word.
    mlflow: Option<&'static str>,
    /// NumPy's name, used by MLflow tensor signatures.
    numpy: &'static str,
    /// In a JSON Schema: `type`.
    json: &'static str,
}

const fn names(
    dtype: DType,
    mlflow: Option<&'static str>,
    numpy: &'static str,
    json: &'static str,
) -> Names {
    Names {
        dtype,
        mlflow,
        numpy,
        json,
    }
}

const TABLE: [Names; 15] = [
    names(DType::Bool, Some("boolean"), "bool", "boolean"),
    names(DType::Int8, None, "int8", "integer"),
    names(DType::Int16, None, "int16", "integer"),
    names(DType::Int32, Some("integer"), "int32", "integer"),
    names(DType::Int64, Some("long"), "int64", "integer"),
    names(DType::UInt8, None, "uint8", "integer"),
    names(DType::UInt16, None, "uint16", "integer"),
    names(DType::UInt32, None, "uint32", "integer"),
    names(DType::UInt64, None, "uint64", "integer"),
    names(DType::Float16, None, "float16", "number"),
    names(DType::Float32, Some("float"), "float32", "number"),
    names(DType::Float64, Some("double"), "float64", "number"),
    names(DType::String, Some("string"), "str", "string"),
    names(DType::Binary, Some("binary"), "bytes", "string"),
    names(DType::Datetime, Some("datetime"), "datetime64", "string"),
];

impl DType {
    fn names(self) -> &'static Names {
        // The table lists the variants in order of declaration; a test holds it to that.
        &TABLE[self as usize]
    }

    /// From the word of an MLflow column signature (`double`, `long`, ...).
    pub fn from_mlflow(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|names| names.mlflow == Some(name))
            .map(|names| names.dtype)
    }

    /// From a NumPy name, as MLflow tensor signatures hold it; text is `str` or `object`.
    pub fn from_numpy(name: &str) -> Option<Self> {
        if name == "object" {
            return Some(Self::String);
        }
        TABLE
            .iter()
            .find(|names| names.numpy == name)
            .map(|names| names.dtype)
    }

    /// The word of an MLflow column signature, if it has one.
    pub fn mlflow_name(self) -> Option<&'static str> {
        self.names().mlflow
    }

    pub fn numpy_name(self) -> &'static str {
        self.names().numpy
    }

    /// The JSON Schema `type` of one element.
    pub fn json_type(self) -> &'static str {
        self.names().json
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }

    pub fn is_integer(self) -> bool {
        self.json_type() == "integer"
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.numpy_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_declaration() {
        for names in &TABLE {
            assert_eq!(names.dtype.names().dtype, names.dtype);
            assert_eq!(DType::from_numpy(names.numpy), Some(names.dtype));
        }
    }

    #[test]
    fn mlflow_integer_is_32_bits_and_long_is_64() {
        assert_eq!(DType::from_mlflow("integer"), Some(DType::Int32));
        assert_eq!(DType::from_mlflow("long"), Some(DType::Int64));
        assert_eq!(DType::from_mlflow("int64"), None);
    }
}
