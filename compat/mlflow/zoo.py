"""Models of each kind that the scoring protocol treats in its own way, as ONNX graphs with MLflow signatures."""

from dataclasses import dataclass

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import DataType
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

REQUIREMENTS = ["onnx", "onnxruntime"]  # given, since guessing them runs the model in another process
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
FLOATS = ["x0", "x1", "x2", "x3"]
IRIS = ["sepal_l", "sepal_w", "petal_l", "petal_w"]


@dataclass
class Model:
    graph: onnx.ModelProto
    signature: ModelSignature
    example: object  # what `mlflow.pyfunc` takes


def graph(nodes, inputs, outputs, constants=()):
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, list(constants)), opset_imports=OPSETS)
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, ["N", *shape])


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


def linear(bias=0.5):
    """`[N, 4]` to `[N, 1]`."""
    nodes = [helper.make_node("Gemm", ["X", "W", "B"], ["variable"])]
    constants = [constant("W", [[1.5], [-2], [0.25], [3]]), constant("B", [bias])]
    return graph(nodes, [value("X", TensorProto.FLOAT, 4)], [value("variable", TensorProto.FLOAT, 1)], constants)


def rows(names=FLOATS, n=3):
    return pd.DataFrame(np.random.default_rng(3).normal(size=(n, len(names))), columns=names)


def linear_columns(bias=0.5, params=None):
    signature = ModelSignature(Schema([ColSpec("double", name) for name in FLOATS]), Schema([ColSpec("float", "variable")]), params)
    return Model(linear(bias), signature, rows())


def linear_params():
    specs = [ParamSpec("temperature", DataType.double, 1.0), ParamSpec("tag", DataType.string, "a"), ParamSpec("top_k", DataType.long, 5)]
    return linear_columns(params=ParamSchema(specs))


def linear_tensor():
    inputs = Schema([TensorSpec(np.dtype("float32"), (-1, 4))])
    return Model(linear(), ModelSignature(inputs, Schema([TensorSpec(np.dtype("float32"), (-1, 1))])), rows().to_numpy(np.float32))


def classifier():
    """Label, and a map of probabilities for each row."""
    data = load_iris()
    fitted = LogisticRegression(max_iter=500).fit(data.data.astype(np.float32), data.target)
    made = convert_sklearn(fitted, initial_types=[("float_input", FloatTensorType([None, 4]))], target_opset=17)
    return Model(made, ModelSignature(Schema([ColSpec("double", name) for name in IRIS])), pd.DataFrame(data.data[::40], columns=IRIS))


def several_tensors():
    nodes = [
        helper.make_node("MatMul", ["left", "W"], ["turned"]),
        helper.make_node("Mul", ["turned", "right"], ["pair"]),
        helper.make_node("ReduceSum", ["pair", "axis"], ["dot"], keepdims=0),
        helper.make_node("Cast", ["boost"], ["added"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["dot", "added"], ["score"]),
    ]
    inputs = [value("left", TensorProto.FLOAT, 3), value("right", TensorProto.FLOAT, 3), value("boost", TensorProto.INT64)]
    outputs = [value("score", TensorProto.FLOAT), value("pair", TensorProto.FLOAT, 3)]
    constants = [constant("W", [[1, 2, 3], [0, 1, 0], [-1, 0.5, 2]]), constant("axis", [1], np.int64)]
    specs = [("float32", (-1, 3), "left"), ("float32", (-1, 3), "right"), ("int64", (-1,), "boost")]
    signature = ModelSignature(Schema([TensorSpec(np.dtype(dtype), shape, name) for dtype, shape, name in specs]))
    left, right = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 0.5, np.float32)
    return Model(graph(nodes, inputs, outputs, constants), signature, {"left": left, "right": right, "boost": np.array([0, 2])})


def mixed_columns():
    """A column of its own for each input: integers, text, booleans; one is optional."""
    cities = {"keys_strings": ["oslo", "rome"], "values_floats": [10.0, 20.0], "default_float": 0.0}
    nodes = [
        helper.make_node("Cast", ["age"], ["years"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["years", "income"], ["sum"]),
        helper.make_node("LabelEncoder", ["city"], ["place"], domain="ai.onnx.ml", **cities),
        helper.make_node("Cast", ["place"], ["place_64"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["sum", "place_64"], ["score"]),
        helper.make_node("Not", ["vip"], ["not_vip"]),
    ]
    inputs = [value("age", TensorProto.INT64), value("income", TensorProto.DOUBLE), value("city", TensorProto.STRING), value("vip", TensorProto.BOOL)]
    outputs = [value("score", TensorProto.DOUBLE), value("not_vip", TensorProto.BOOL)]
    columns = [ColSpec("long", "age"), ColSpec("double", "income"), ColSpec("string", "city"), ColSpec("boolean", "vip")]
    signature = ModelSignature(Schema([*columns, ColSpec("double", "note", required=False)]))
    example = pd.DataFrame({"age": [30, 41], "income": [1.5, 2.25], "city": ["oslo", "bonn"], "vip": [True, False]})
    return Model(graph(nodes, inputs, outputs), signature, example)


def external_data():
    """Its weights are in a file of their own."""
    weights = np.random.default_rng(5).normal(size=(16, 40)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "W"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    made = graph(nodes, [value("x", TensorProto.FLOAT, 16)], [value("y", TensorProto.FLOAT, 40)], [numpy_helper.from_array(weights, "W")])
    inputs, outputs = ([TensorSpec(np.dtype("float32"), (-1, width))] for width in (16, 40))
    return Model(made, ModelSignature(Schema(inputs), Schema(outputs)), np.random.default_rng(6).normal(size=(3, 16)).astype(np.float32))


ZOO = {
    "linear_columns": linear_columns,
    "linear_params": linear_params,
    "linear_tensor": linear_tensor,
    "classifier": classifier,
    "several_tensors": several_tensors,
    "mixed_columns": mixed_columns,
    "external_data": external_data,
}


def log(name, model, **options):
    """Logs and registers with MLflow itself, where it is told to; the new version's number."""
    info = mlflow.onnx.log_model(
        model.graph, name="model", signature=model.signature, registered_model_name=name, pip_requirements=REQUIREMENTS, **options
    )
    return str(info.registered_model_version)
