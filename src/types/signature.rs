//! What goes into a model and what comes out, as its MLflow signature and its graph state it.

use super::dtype::DType;

/// One column of an MLflow column signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Absent in an unnamed signature: the column is known by its place.
    pub name: Option<String>,
    pub dtype: ColumnType,
    pub required: bool,
}

/// The type of a signature column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    Scalar(DType),
    /// `array`, `object`, `map` or `any`: the MLflow word, kept for messages.
    Nested(String),
}

/// One tensor: of an MLflow tensor signature, or of the graph itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Absent in an unnamed signature. A graph's tensors always have one.
    pub name: Option<String>,
    pub dtype: DType,
    /// Sizes of the dimensions; -1 is any size. A graph input without a shape has none.
    pub shape: Vec<i64>,
}

/// One side (inputs or outputs) of an MLflow signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    Columns(Vec<ColumnSpec>),
    Tensors(Vec<TensorSpec>),
}

/// The signature of a model version; a side that MLflow does not state is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    pub inputs: Option<Schema>,
    pub outputs: Option<Schema>,
    /// What a call may give as `params`; ONNX models never see them.
    pub params: Option<Vec<ParamSpec>>,
}

/// One parameter of an MLflow signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    pub name: String,
    /// Absent for an object, whose parts are not looked at.
    pub dtype: Option<DType>,
    /// Takes a list instead of one value.
    pub list: bool,
}

/// One output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    pub name: String,
    pub kind: OutputKind,
}

/// What kind of value an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    Tensor {
        dtype: DType,
        shape: Vec<i64>,
    },
    /// `sequence<map<int64 or string, float>>`, as scikit-learn's ZipMap gives: one map per row.
    Maps,
}

/// What the ONNX graph itself takes and gives, in graph order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// What every run takes.
    pub inputs: Vec<TensorSpec>,
    /// What a run may leave out: the graph has a value of its own for it, or does without. Those of optional types first.
    pub optional: Vec<TensorSpec>,
    pub outputs: Vec<OutputSpec>,
}
