"""Feast's own gRPC stubs: what `feast serve --type grpc` answers, Terrarium's gRPC port answers too."""

import json

import grpc
import pytest
from answers import differences, sdk_answer
from feast.feature_server import convert_response_to_dict
from feast.protos.feast.serving import GrpcServer_pb2 as grpc_messages
from feast.protos.feast.serving.GrpcServer_pb2_grpc import GrpcFeatureServerStub
from feast.protos.feast.serving.ServingService_pb2 import (
    FeatureList,
    GetFeastServingInfoRequest,
    GetOnlineFeaturesRequest,
)
from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import python_values_to_proto_values
from repository import API_VIEWS, FILE_VIEWS, KEYS_BY_VIEW, PAIRS
from test_values import question, unordered

TIMEOUT_S = 30


@pytest.fixture
def channels(store_pair):
    """To Feast and to Terrarium, on the same store."""
    deployment = store_pair.by_feast
    servers = store_pair.feast_grpc(deployment), store_pair.terrarium(deployment)
    with grpc.insecure_channel(servers[0].grpc_address) as feast, grpc.insecure_channel(servers[1].grpc_address) as terrarium:
        yield feast, terrarium


def repeated(deployment, keys):
    """Entity columns as messages, typed as the join keys are."""
    types = {entity.join_key: entity.value_type for entity in deployment.feast().list_entities()}
    columns = {}
    for name, values in keys.items():
        declared = types.get(name)
        columns[name] = RepeatedValue(val=python_values_to_proto_values(values, declared) if declared else python_values_to_proto_values(values))
    return columns


def ask(stub, **request):
    response = stub.GetOnlineFeatures(GetOnlineFeaturesRequest(**request), timeout=TIMEOUT_S)
    return json.loads(json.dumps(convert_response_to_dict(response)))


@pytest.mark.parametrize("view", [*FILE_VIEWS, *API_VIEWS])
def test_features_are_read(store_pair, channels, view):
    features, keys, _ = question(view)
    request = {"features": FeatureList(val=features), "entities": repeated(store_pair.by_feast, keys)}
    try:
        wanted = ask(GrpcFeatureServerStub(channels[0]), **request)
    except grpc.RpcError:  # it does not take keys of every type
        wanted = sdk_answer(store_pair.by_feast.feast(), features, keys)
    for stub in (GrpcFeatureServerStub(channels[1]), ServingServiceStub(channels[1])):
        found = differences(ask(stub, **request), wanted, unordered(view))
        assert not found, "\n".join(found)


def test_services_and_full_names_are_read(store_pair, channels):
    keys = {"driver_id": [d for d, _ in PAIRS], "rider_code": [r for _, r in PAIRS]}
    for full in (False, True):
        request = {"feature_service": "plain", "entities": repeated(store_pair.by_feast, keys), "full_feature_names": full}
        wanted = ask(GrpcFeatureServerStub(channels[0]), **request)
        for stub in (GrpcFeatureServerStub(channels[1]), ServingServiceStub(channels[1])):
            found = differences(ask(stub, **request), wanted)
            assert not found, "\n".join(found)


def test_what_cannot_be_answered_is_an_error(store_pair, channels):
    one = repeated(store_pair.by_feast, {"driver_id": [1]})
    for request in (
        {"feature_service": "no_such_service", "entities": one},
        {"features": FeatureList(val=["nowhere:rate"]), "entities": one},
        {"features": FeatureList(val=["stats:nope"]), "entities": one},
        {"features": FeatureList(val=["stats:rate"])},
    ):
        for channel in channels:
            with pytest.raises(grpc.RpcError) as refusal:
                ask(GrpcFeatureServerStub(channel), **request)
            assert refusal.value.code() != grpc.StatusCode.UNIMPLEMENTED


def test_serving_info_names_a_version(channels):
    info = ServingServiceStub(channels[1]).GetFeastServingInfo(GetFeastServingInfoRequest(), timeout=TIMEOUT_S)
    assert info.version


@pytest.mark.parametrize("call", ["Push", "WriteToOnlineStore"])
def test_rows_are_written(store_pair, call):
    """Typed values through both servers, each with a store of its own; the two SDKs then read the same."""
    driver = 8000 if call == "Push" else 8001
    row = {
        "driver_id": Value(int64_val=driver),
        "rate": Value(double_val=0.1),
        "trips": Value(int64_val=2**60 + 1),
        "city": Value(string_val="Zürich"),
        "event_timestamp": Value(string_val="2024-03-05T12:00:00.25"),
        "created": Value(string_val="2024-03-05T12:00:00"),
    }
    read = []
    for deployment, server in [
        (store_pair.by_feast, store_pair.feast_grpc(store_pair.by_feast)),
        (store_pair.by_terrarium, store_pair.terrarium(store_pair.by_terrarium)),
    ]:
        with grpc.insecure_channel(server.grpc_address) as channel:
            stub = GrpcFeatureServerStub(channel)
            if call == "Push":
                request = grpc_messages.PushRequest(typed_features=row, stream_feature_view="stats_push", to="online", allow_registry_cache=True)
                answer = stub.Push(request, timeout=TIMEOUT_S)
            else:
                request = grpc_messages.WriteToOnlineStoreRequest(typed_features=row, feature_view_name="stats", allow_registry_cache=True)
                answer = stub.WriteToOnlineStore(request, timeout=TIMEOUT_S)
        assert answer.status, server.log_tail()
        response = deployment.feast().get_online_features(["stats:rate", "stats:trips", "stats:city"], {"driver_id": [driver]})
        read.append(convert_response_to_dict(response.proto))
    found = differences(read[1], read[0])
    assert not found, "\n".join(found)
    assert "Zürich" in json.dumps(read[0], ensure_ascii=False)


def test_a_push_that_cannot_be_is_an_error(channels):
    for to, source in [("nowhere", "stats_push"), ("online", "no_such_source")]:
        for channel in channels:
            with pytest.raises(grpc.RpcError) as refusal:
                request = grpc_messages.PushRequest(features={"driver_id": "1"}, stream_feature_view=source, to=to)
                GrpcFeatureServerStub(channel).Push(request, timeout=TIMEOUT_S)
            assert refusal.value.code() != grpc.StatusCode.UNIMPLEMENTED
