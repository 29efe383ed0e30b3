"""Makes what the comparison with MLflow serves; run with the Python that has MLflow:

    models.py save DIRECTORY        a linear regression of four features, with a column and with a tensor signature
    models.py register URI          the model `swapped` in a running MLflow server: version N answers a row of ones with N
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from onnx import TensorProto, helper, numpy_helper

COLUMNS = ["x0", "x1", "x2", "x3"]
WEIGHTS = [1.5, -2, 0.25, 3]
REQUIREMENTS = ["onnx", "onnxruntime"]


def linear(bias):
    constants = [numpy_helper.from_array(np.array(values, np.float32), name) for name, values in [("W", [[w] for w in WEIGHTS]), ("B", [bias])]]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 4])]
    outputs = [helper.make_tensor_value_info("variable", TensorProto.FLOAT, ["N", 1])]
    graph = helper.make_graph([helper.make_node("Gemm", ["X", "W", "B"], ["variable"])], "linear", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def signatures():
    columns = ModelSignature(Schema([ColSpec("double", name) for name in COLUMNS]))
    tensor = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 4))]))
    return {"columns": columns, "tensor": tensor}


def save(directory):
    for name, signature in signatures().items():
        path = Path(directory) / "models" / name / "1"
        path.parent.mkdir(parents=True)
        mlflow.onnx.save_model(linear(0.5), str(path), signature=signature, pip_requirements=REQUIREMENTS)
        (path.parent / "aliases.yaml").write_text("champion: 1\n")


def register(uri):
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for version in (1, 2):
        model = linear(version - sum(WEIGHTS))
        options = {"signature": signatures()["columns"], "pip_requirements": REQUIREMENTS}
        mlflow.onnx.log_model(model, name="model", registered_model_name="swapped", **options)
    mlflow.MlflowClient().set_registered_model_alias("swapped", "champion", "1")


if __name__ == "__main__":
    {"save": save, "register": register}[sys.argv[1]](sys.argv[2])
