"""Calls of the Open Inference Protocol for benches: one row of the gradient-boosting model, as JSON, as bytes and as a message."""

import json
import shutil
import struct
from pathlib import Path

MODEL, INPUT, OUTPUT = "gbt", "X", "probabilities"
ROW = [0.5, -1.25, 2.0, 0.0, 0.75, -0.5, 1.5, -2.0, 0.25, 1.0]
SHAPE = [1, len(ROW)]
PATH = f"/v2/models/{MODEL}/infer"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
ML_MODEL = """\
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.23.2
"""


def registry(directory):
    """A registry of that one model, in the layout of `registry.local`."""
    version = Path(directory) / MODEL / "1"
    version.mkdir(parents=True)
    shutil.copy("benches/models/gbt.onnx", version / "model.onnx")
    (version / "MLmodel").write_text(ML_MODEL)
    return str(directory)


def json_body():
    return {"inputs": [{"name": INPUT, "shape": SHAPE, "datatype": "FP32", "data": ROW}]}


def binary_body():
    """The body, and how many bytes of it are JSON; as tritonclient sends it."""
    raw = struct.pack(f"<{len(ROW)}f", *ROW)
    head = {
        "inputs": [{"name": INPUT, "shape": SHAPE, "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(head, separators=(",", ":")).encode()
    return head + raw, len(head)


def message():
    """A `ModelInferRequest` with raw contents."""
    tensor = field(1, INPUT.encode()) + field(2, b"FP32") + field(3, b"".join(map(varint, SHAPE)))
    return field(1, MODEL.encode()) + field(5, tensor) + field(7, struct.pack(f"<{len(ROW)}f", *ROW))


def field(number, content):
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value):
    if value < 0x80:
        return bytes([value])
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7)
