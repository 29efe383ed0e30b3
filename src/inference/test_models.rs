//! For tests: a runtime, and ONNX files written by hand.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use prost::encoding::{WireType, encode_key, encode_varint};

use super::{Config, Engine, Runtime, ServedModel};
use crate::types::signature::Graph;

/// Two engines per model.
pub(crate) fn runtime() -> Runtime {
    let config = Config {
        threads: NonZeroUsize::new(2),
        ..Config::default()
    };
    Runtime::load(&config, None).unwrap()
}

/// A model over engines of the test's own. It was never warmed up, so each run goes to a blocking thread.
pub(crate) fn served(graph: Graph, engines: Vec<Box<dyn Engine>>) -> ServedModel {
    let config = Config::default();
    ServedModel::new(graph, engines, config.limits(), config.cores())
}

/// A directory below `tests/fixtures/mlflow`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/mlflow")
        .join(path)
}

/// Element types by their number in `TensorProto.DataType`.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const FLOAT16: u64 = 10;
pub(crate) const COMPLEX64: u64 = 14;
pub(crate) const BFLOAT16: u64 = 16;

/// One message of the protobuf wire format, field by field.
#[derive(Clone, Default)]
pub(crate) struct Proto(pub(crate) Vec<u8>);

impl Proto {
    pub(crate) fn number(mut self, tag: u32, value: u64) -> Self {
        encode_key(tag, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    pub(crate) fn bytes(mut self, tag: u32, value: &[u8]) -> Self {
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn text(self, tag: u32, value: &str) -> Self {
        self.bytes(tag, value.as_bytes())
    }

    pub(crate) fn message(self, tag: u32, value: &Self) -> Self {
        self.bytes(tag, &value.0)
    }
}

/// A `ModelProto` around a `GraphProto`.
pub(crate) fn model(graph: &Proto) -> Vec<u8> {
    let opset = Proto::default().text(1, "").number(2, 13);
    let model = Proto::default().number(1, 8).message(8, &opset);
    model.message(7, graph).0
}

pub(crate) fn node(operator: &str, inputs: &[&str], output: &str) -> Proto {
    let mut node = Proto::default();
    for input in inputs {
        node = node.text(1, input);
    }
    node.text(2, output).text(4, operator)
}

/// A `ValueInfoProto`; a size of -1 is free.
pub(crate) fn value_info(name: &str, element_type: u64, shape: &[i64]) -> Proto {
    let mut dimensions = Proto::default();
    for size in shape {
        let dimension = match u64::try_from(*size) {
            Ok(size) => Proto::default().number(1, size),
            Err(_) => Proto::default().text(2, "N"),
        };
        dimensions = dimensions.message(1, &dimension);
    }
    let tensor = Proto::default()
        .number(1, element_type)
        .message(2, &dimensions);
    let value_type = Proto::default().message(1, &tensor);
    Proto::default().text(1, name).message(2, &value_type)
}

/// `y = operator(x)`.
pub(crate) fn unary(operator: &str, element_type: u64, from: &[i64], to: &[i64]) -> Vec<u8> {
    let graph = Proto::default()
        .message(1, &node(operator, &["x"], "y"))
        .text(2, "g")
        .message(11, &value_info("x", element_type, from))
        .message(12, &value_info("y", element_type, to));
    model(&graph)
}

/// A float tensor of four elements whose data lies in another file.
pub(crate) fn external_tensor(location: &str) -> Proto {
    let entry = Proto::default().text(1, "location").text(2, location);
    Proto::default()
        .number(1, 4)
        .number(2, FLOAT)
        .text(8, "w")
        .message(13, &entry)
        .number(14, 1)
}

/// `y = x + w` with `w` in another file.
pub(crate) fn with_external_data(location: &str) -> Vec<u8> {
    let graph = Proto::default()
        .message(1, &node("Add", &["x", "w"], "y"))
        .text(2, "g")
        .message(5, &external_tensor(location))
        .message(11, &value_info("x", FLOAT, &[-1, 4]))
        .message(12, &value_info("y", FLOAT, &[-1, 4]));
    model(&graph)
}
