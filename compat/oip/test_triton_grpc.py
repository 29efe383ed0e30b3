"""tritonclient's gRPC client: every datatype, streams, compression."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException
from values import ARRAYS, assert_echoed


@pytest.fixture
def client(terrarium):
    with grpc.InferenceServerClient(terrarium.grpc_address) as client:
        yield client


def image(rows=1, shape=(2, 3)):
    tensor = grpc.InferInput("img", [rows, *shape], "FP32")
    tensor.set_data_from_numpy(np.ones((rows, *shape), np.float32))
    return [tensor]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_datatype(client, compression):
    tensors = []
    for name, (datatype, array) in ARRAYS.items():
        tensor = grpc.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    outputs = [grpc.InferRequestedOutput(f"{name}_out") for name in reversed(ARRAYS)]
    result = client.infer("echo", tensors, outputs=outputs, request_id="7", compression_algorithm=compression)
    response = result.get_response()
    assert response.id == "7" and response.outputs[0].name == "text_out"
    for name in ARRAYS:
        assert_echoed(name, result.as_numpy(f"{name}_out"))


def test_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("rank3", "1")
    assert not client.is_model_ready("unknown")
    assert "statistics" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("rank3")
    assert metadata.inputs[0].name == "img" and list(metadata.inputs[0].shape) == [-1, 2, 3]
    config = client.get_model_config("echo").config
    assert config.max_batch_size > 0 and list(config.input[0].dims) == [2]
    assert [i.data_type for i in config.input][-1] == 13  # TYPE_STRING


def test_statistics_count(client):
    count = lambda: client.get_inference_statistics("rank3").model_stats[0].inference_count
    before = count()
    client.infer("rank3", image(5))
    assert count() == before + 5
    sizes = {size.batch_size: size for size in client.get_inference_statistics("rank3").model_stats[0].batch_stats}
    assert sizes[5].compute_infer.count >= 1 and sizes[5].compute_infer.ns > 0
    assert len(client.get_inference_statistics().model_stats) == 5


def test_repository(client):
    assert "READY" in {model.state for model in client.get_model_repository_index().models}
    client.load_model("rank3")
    with pytest.raises(InferenceServerException, match="unloading `rank3`"):
        client.unload_model("rank3")


def test_a_large_call(client):
    assert client.infer("rank3", image(100_000)).as_numpy("m").shape == (100_000,)


def test_an_empty_call(client):
    assert client.infer("rank3", image(0)).as_numpy("m").shape == (0,)


def test_parameters_of_every_kind(client):
    parameters = {"a": "x", "b": 1, "c": True, "d": 0.5}
    client.infer("rank3", image(), priority=1, timeout=5_000_000, parameters=parameters)


def test_requests_beside_each_other(client):
    answers = queue.Queue()
    for rows in range(1, 20):
        client.async_infer("rank3", image(rows), lambda result, error, rows=rows: answers.put((rows, result, error)))
    for _ in range(1, 20):
        rows, result, error = answers.get(timeout=20)
        assert error is None and result.as_numpy("m").shape == (rows,)


def test_errors_have_a_status_and_a_message(client):
    for arguments, status, part in [
        (("rank3", image(shape=(2, 2))), "INVALID_ARGUMENT", "[1, 2, 2] where [-1, 2, 3]"),
        (("unknown", image()), "NOT_FOUND", "`unknown` is not served"),
        (("rank3", image(), "9"), "NOT_FOUND", "version 9"),
    ]:
        with pytest.raises(InferenceServerException) as refused:
            client.infer(*arguments)
        assert refused.value.status() == f"StatusCode.{status}" and part in refused.value.message()
    with pytest.raises(InferenceServerException) as refused:
        client.infer("rank3", image(), timeout=1)
    assert refused.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_stream_goes_on_after_a_failure(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for rows, shape in [(1, (2, 3)), (2, (2, 2)), (3, (2, 3))]:
        client.async_stream_infer("rank3", image(rows, shape), request_id=str(rows), enable_empty_final_response=rows == 3)
    outcomes = [answers.get(timeout=20) for _ in range(3)]
    client.stop_stream()
    (first, none), (_, failed), (last, _) = outcomes
    assert none is None and first.as_numpy("m").shape == (1,)
    assert "[2, 2, 2] where [-1, 2, 3]" in failed.message()
    assert last.get_response().id == "3" and last.get_response().parameters["triton_final_response"].bool_param
