"""Makes the models of the benches again; run with a Python that has scikit-learn and skl2onnx:

    make.py     writes gbt.onnx (a gradient-boosting classifier of 100 trees) and mlp.onnx (three hidden layers, 256 wide) beside itself,
                and registry/slow: a chain of matrix products that takes some milliseconds
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier

N_COLUMNS, WIDTH, N_HIDDEN, N_SLOW, OPSET = 10, 256, 3, 800, 17
HERE = Path(__file__).parent


def main():
    random = np.random.default_rng(0)
    onnx.save(boosted(random), HERE / "gbt.onnx")
    onnx.save(perceptron(random), HERE / "mlp.onnx")
    slow = HERE / "registry" / "slow" / "1"
    slow.mkdir(parents=True, exist_ok=True)
    onnx.save(chain(), slow / "model.onnx")
    (slow / "MLmodel").write_text(ML_MODEL)


ML_MODEL = """\
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.23.2
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 10]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}}]'
"""


def boosted(random):
    rows = random.standard_normal((2000, N_COLUMNS)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] + rows[:, 2] > 0).astype(int)
    classifier = GradientBoostingClassifier(n_estimators=100, random_state=0).fit(rows, labels)
    return to_onnx(classifier, rows[:1], options={"zipmap": False}, target_opset=OPSET)


def perceptron(random):
    widths = [N_COLUMNS, *[WIDTH] * N_HIDDEN, 1]
    nodes, weights, current = [], [], "X"
    for layer, (taken, given) in enumerate(zip(widths, widths[1:])):
        # Multiples of 1/1024 compress well and are as fast as any.
        values = np.round(random.standard_normal((taken, given)) / np.sqrt(taken) * 1024) / 1024
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"W{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(given, np.float32), f"B{layer}"))
        is_last = layer == N_HIDDEN
        sums = "score" if is_last else f"sums{layer}"
        nodes.append(helper.make_node("Gemm", [current, f"W{layer}", f"B{layer}"], [sums]))
        if not is_last:
            current = f"hidden{layer}"
            nodes.append(helper.make_node("Relu", [sums], [current]))
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", N_COLUMNS])]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])]
    return checked(helper.make_graph(nodes, "perceptron", inputs, outputs, weights))


def chain():
    """Means of means: every weight is the same, so that the file need not hold them."""
    nodes, current = [], "X"
    widths = [(N_COLUMNS, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)]
    shapes = [numpy_helper.from_array(np.array(shape, np.int64), f"shape{n}") for n, shape in enumerate(widths)]
    for n, (taken, _) in enumerate(widths):
        mean = helper.make_tensor("mean", TensorProto.FLOAT, [1], [1 / taken])
        nodes.append(helper.make_node("ConstantOfShape", [f"shape{n}"], [f"W{n}"], value=mean))
    for layer in range(N_SLOW):
        weight = {0: "W0", N_SLOW - 1: "W2"}.get(layer, "W1")
        following = "score" if layer == N_SLOW - 1 else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [current, weight], [following]))
        current = following
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", N_COLUMNS])]
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])]
    return checked(helper.make_graph(nodes, "chain", inputs, outputs, shapes))


def checked(graph):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    main()
