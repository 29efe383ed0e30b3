"""tritonclient's HTTP client: every mode and datatype."""

import numpy as np
import pytest
import tritonclient.http as http
from tritonclient.utils import InferenceServerException
from values import ARRAYS, assert_echoed


@pytest.fixture
def client(terrarium):
    with http.InferenceServerClient(terrarium.address, concurrency=4) as client:
        yield client


def inputs(binary):
    tensors = []
    for name, (datatype, array) in ARRAYS.items():
        tensor = http.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary and name not in ("int8", "text") or binary == "all")
        tensors.append(tensor)
    return tensors


def image(rows=1):
    tensor = http.InferInput("img", [rows, 2, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((rows, 2, 3), np.float32))
    return [tensor]


@pytest.mark.parametrize("binary_in", ["all", "some", False])
@pytest.mark.parametrize("binary_out", [None, True, False, "some"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_datatype_in_every_mode(client, binary_in, binary_out, compression):
    outputs = None
    if binary_out is not None:
        is_binary = lambda name: binary_out is True or (binary_out == "some" and name in ("fp16", "text"))
        outputs = [http.InferRequestedOutput(f"{name}_out", binary_data=is_binary(name)) for name in ARRAYS]
    result = client.infer(
        "echo",
        inputs(binary_in),
        outputs=outputs,
        request_id="7",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert result.get_response()["id"] == "7"
    for name in ARRAYS:
        assert_echoed(name, result.as_numpy(f"{name}_out"))


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("rank3")
    assert client.is_model_ready("rank3", "1")
    assert not client.is_model_ready("unknown") and not client.is_model_ready("rank3", "9")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("rank3")
    assert metadata["inputs"] == [{"name": "img", "datatype": "FP32", "shape": [-1, 2, 3]}]
    config = client.get_model_config("rank3", "1")
    assert config["max_batch_size"] > 0 and config["input"][0]["dims"] == [2, 3]


def test_statistics_count(client):
    count = lambda: client.get_inference_statistics("rank3")["model_stats"][0]["inference_count"]
    before = count()
    client.infer("rank3", image(5))
    assert count() == before + 5
    assert {stats["name"] for stats in client.get_inference_statistics()["model_stats"]} >= {"echo", "rank3"}


def test_repository(client):
    index = client.get_model_repository_index()
    assert {"name": "rank3", "version": "1", "state": "READY", "reason": ""} in index
    client.load_model("rank3")
    with pytest.raises(InferenceServerException, match="unloading `rank3`"):
        client.unload_model("rank3")
    with pytest.raises(InferenceServerException, match="unknown"):
        client.load_model("unknown")


def test_requests_beside_each_other(client):
    pending = [client.async_infer("rank3", image(rows)) for rows in range(1, 30)]
    for rows, request in enumerate(pending, 1):
        assert request.get_result().as_numpy("m").shape == (rows,)


def test_a_large_call(client):
    assert client.infer("rank3", image(100_000)).as_numpy("m").shape == (100_000,)


def test_parameters_priority_and_timeout(client):
    client.infer("rank3", image(), priority=1, timeout=5_000_000, parameters={"mine": "x", "yours": 1, "theirs": True})


def test_errors_are_readable(client):
    with pytest.raises(InferenceServerException, match=r"\[1, 2, 2\] where \[-1, 2, 3\]"):
        tensor = http.InferInput("img", [1, 2, 2], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 2, 2), np.float32))
        client.infer("rank3", [tensor])
    with pytest.raises(InferenceServerException, match="`img` is not given"):
        tensor = http.InferInput("x", [1, 2, 3], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 2, 3), np.float32))
        client.infer("rank3", [tensor])
    with pytest.raises(InferenceServerException, match="`unknown` is not served"):
        client.infer("unknown", image())
    with pytest.raises(InferenceServerException, match="version 9"):
        client.infer("rank3", image(), model_version="9")
    with pytest.raises(InferenceServerException, match="`nothing` is not an output"):
        client.infer("rank3", image(), outputs=[http.InferRequestedOutput("nothing")])
    with pytest.raises(InferenceServerException, match="(?i)deadline"):
        client.infer("rank3", image(), timeout=1)


def test_bare_words_of_its_json(client):
    tensor = http.InferInput("x", [3, 1], "FP32")
    tensor.set_data_from_numpy(np.array([[np.nan], [np.inf], [1.0]], np.float32), binary_data=False)
    outputs = [http.InferRequestedOutput("root", binary_data=False)]
    result = client.infer("nan_out", [tensor], outputs=outputs).as_numpy("root")
    np.testing.assert_array_equal(result.astype(np.float32), np.array([[np.nan], [np.inf], [1.0]], np.float32))
