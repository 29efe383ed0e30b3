"""KServe's inference clients, REST and gRPC."""

import asyncio

import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from values import ARRAYS, assert_echoed


def request(model, tensors):
    return InferRequest(model_name=model, infer_inputs=tensors)


def image(rows=1, binary=True):
    tensor = InferInput(name="img", shape=[rows, 2, 3], datatype="FP32")
    tensor.set_data_from_numpy(np.ones((rows, 2, 3), np.float32), binary_data=binary)
    return request("rank3", [tensor])


def echoed(binary):
    tensors = []
    for name, (datatype, array) in ARRAYS.items():
        tensor = InferInput(name=name, shape=list(array.shape), datatype=datatype)
        # It refuses FP16 in JSON, and JSON has no NaN.
        tensor.set_data_from_numpy(array, binary_data=binary or datatype in ("FP16", "FP32", "FP64"))
        tensors.append(tensor)
    return request("echo", tensors)


def rest(terrarium, call):
    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        return await call(client, f"http://{terrarium.address}")

    return asyncio.run(run())


def grpc(terrarium, call):
    async def run():
        return await call(InferenceGRPCClient(url=terrarium.grpc_address))

    return asyncio.run(run())


def test_rest_health(terrarium):
    assert rest(terrarium, lambda client, url: client.is_server_live(url))
    assert rest(terrarium, lambda client, url: client.is_server_ready(url))
    assert rest(terrarium, lambda client, url: client.is_model_ready(url, "rank3"))
    assert not rest(terrarium, lambda client, url: client.is_model_ready(url, "unknown"))


@pytest.mark.parametrize("binary", [True, False])
def test_rest_every_datatype(terrarium, binary):
    result = rest(terrarium, lambda client, url: client.infer(url, echoed(binary), model_name="echo"))
    outputs = {output.name: output for output in result.outputs}
    for name in ARRAYS:
        if name != "fp16":  # its own reader has no FP16 in JSON
            assert_echoed(name, outputs[f"{name}_out"].as_numpy())


@pytest.mark.parametrize("binary", [True, False])
def test_rest_many_rows_compressed(terrarium, binary):
    result = rest(terrarium, lambda client, url: client.infer(url, image(5_000, binary), model_name="rank3"))
    assert result.outputs[0].as_numpy().shape == (5_000,)


def test_rest_errors(terrarium):
    with pytest.raises(Exception, match="`unknown` is not served"):
        rest(terrarium, lambda client, url: client.infer(url, image(), model_name="unknown"))


def test_grpc_health(terrarium):
    assert grpc(terrarium, lambda client: client.is_server_live())
    assert grpc(terrarium, lambda client: client.is_server_ready())
    assert grpc(terrarium, lambda client: client.is_model_ready("rank3"))


def test_grpc_every_datatype(terrarium):
    result = grpc(terrarium, lambda client: client.infer(echoed(True)))
    outputs = {output.name: output for output in result.outputs}
    for name in ARRAYS:
        assert_echoed(name, outputs[f"{name}_out"].as_numpy())


def test_grpc_typed_contents(terrarium):
    tensor = InferInput(name="img", shape=[1, 2, 3], datatype="FP32", data=[1.0] * 6)
    result = grpc(terrarium, lambda client: client.infer(request("rank3", [tensor])))
    assert result.outputs[0].as_numpy().shape == (1,)


def test_grpc_errors(terrarium):
    with pytest.raises(Exception, match="is not given"):
        tensor = InferInput(name="x", shape=[1], datatype="FP32", data=[1.0])
        grpc(terrarium, lambda client: client.infer(request("rank3", [tensor])))
