"""One array for each datatype, extremes included; the echo model gives it back as `<name>_out`."""

import numpy as np


def _extremes(dtype):
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max]], dtype)


ARRAYS = {
    "bool": ("BOOL", np.array([[True, False]])),
    "int8": ("INT8", _extremes(np.int8)),
    "int16": ("INT16", _extremes(np.int16)),
    "int32": ("INT32", _extremes(np.int32)),
    "int64": ("INT64", _extremes(np.int64)),
    "uint8": ("UINT8", _extremes(np.uint8)),
    "uint16": ("UINT16", _extremes(np.uint16)),
    "uint32": ("UINT32", _extremes(np.uint32)),
    "uint64": ("UINT64", _extremes(np.uint64)),
    "fp16": ("FP16", np.array([[0.5, np.inf]], np.float16)),
    "fp32": ("FP32", np.array([[0.1, np.nan]], np.float32)),
    "fp64": ("FP64", np.array([[0.1, -np.inf]], np.float64)),
    "text": ("BYTES", np.array([["", "hä😀"]], np.object_)),
}


def assert_echoed(name, actual):
    wanted = ARRAYS[name][1]
    if name == "text":
        actual = np.array([[t.decode() if isinstance(t, bytes) else t for t in row] for row in actual], np.object_)
    assert actual.dtype == wanted.dtype and actual.shape == wanted.shape, name
    np.testing.assert_array_equal(actual, wanted, err_msg=name)
