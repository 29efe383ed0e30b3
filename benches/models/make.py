"""Makes the models of benches/batcher.rs again; run with a Python that has scikit-learn and skl2onnx:

    make.py     writes gbt.onnx (a gradient-boosting classifier of 100 trees) and mlp.onnx (three hidden layers, 256 wide) beside itself
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier

N_COLUMNS, WIDTH, N_HIDDEN, OPSET = 10, 256, 3, 17
HERE = Path(__file__).parent


def main():
    random = np.random.default_rng(0)
    onnx.save(boosted(random), HERE / "gbt.onnx")
    onnx.save(perceptron(random), HERE / "mlp.onnx")


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
    graph = helper.make_graph(nodes, "perceptron", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    main()
