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
    /// Half the bits of `Float32`, with its range.
    BFloat16,
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
    /// In the Open Inference Protocol; absent for what is no tensor.
    oip: Option<&'static str>,
    /// In a JSON Schema: `type`.
    json: &'static str,
}

const fn names(
    dtype: DType,
    mlflow: Option<&'static str>,
    numpy: &'static str,
    oip: Option<&'static str>,
    json: &'static str,
) -> Names {
    Names {
        dtype,
        mlflow,
        numpy,
        oip,
        json,
    }
}

const TABLE: [Names; 16] = [
    names(
        DType::Bool,
        Some("boolean"),
        "bool",
        Some("BOOL"),
        "boolean",
    ),
    names(DType::Int8, None, "int8", Some("INT8"), "integer"),
    names(DType::Int16, None, "int16", Some("INT16"), "integer"),
    names(
        DType::Int32,
        Some("integer"),
        "int32",
        Some("INT32"),
        "integer",
    ),
    names(
        DType::Int64,
        Some("long"),
        "int64",
        Some("INT64"),
        "integer",
    ),
    names(DType::UInt8, None, "uint8", Some("UINT8"), "integer"),
    names(DType::UInt16, None, "uint16", Some("UINT16"), "integer"),
    names(DType::UInt32, None, "uint32", Some("UINT32"), "integer"),
    names(DType::UInt64, None, "uint64", Some("UINT64"), "integer"),
    names(DType::Float16, None, "float16", Some("FP16"), "number"),
    names(DType::BFloat16, None, "bfloat16", Some("BF16"), "number"),
    names(
        DType::Float32,
        Some("float"),
        "float32",
        Some("FP32"),
        "number",
    ),
    names(
        DType::Float64,
        Some("double"),
        "float64",
        Some("FP64"),
        "number",
    ),
    names(
        DType::String,
        Some("string"),
        "str",
        Some("BYTES"),
        "string",
    ),
    names(DType::Binary, Some("binary"), "bytes", None, "string"),
    names(
        DType::Datetime,
        Some("datetime"),
        "datetime64",
        None,
        "string",
    ),
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

    /// From the Open Inference Protocol's name (`FP32`, `BYTES`, ...).
    pub fn from_oip(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|names| names.oip == Some(name))
            .map(|names| names.dtype)
    }

    /// The Open Inference Protocol's name; bytes and text are one type there, and a moment is an integer.
    pub fn oip_name(self) -> &'static str {
        match (self, self.names().oip) {
            (_, Some(name)) => name,
            (Self::Datetime, None) => "INT64",
            (_, None) => "BYTES",
        }
    }

    /// The JSON Schema `type` of one element.
    pub fn json_type(self) -> &'static str {
        self.names().json
    }

    /// Bytes of one element, where all have the same.
    pub fn n_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 | Self::UInt8 => Some(1),
            Self::Int16 | Self::UInt16 | Self::Float16 | Self::BFloat16 => Some(2),
            Self::Int32 | Self::UInt32 | Self::Float32 => Some(4),
            Self::Int64 | Self::UInt64 | Self::Float64 | Self::Datetime => Some(8),
            Self::String | Self::Binary => None,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16 | Self::BFloat16 | Self::Float32 | Self::Float64
        )
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
            if let Some(oip) = names.oip {
                assert_eq!(DType::from_oip(oip), Some(names.dtype));
            }
        }
    }

    #[test]
    fn mlflow_integer_is_32_bits_and_long_is_64() {
        assert_eq!(DType::from_mlflow("integer"), Some(DType::Int32));
        assert_eq!(DType::from_mlflow("long"), Some(DType::Int64));
        assert_eq!(DType::from_mlflow("int64"), None);
    }
}
