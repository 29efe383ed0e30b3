"""A Feast client whose online store is remote: pointed at Terrarium it sees what it sees when pointed at `feast serve`."""

from datetime import timedelta

import pandas as pd
import pytest
from answers import differences, sdk_answer
from feast import FeatureStore, RepoConfig
from repository import FILE_VIEWS, NOON, PAIRS
from test_values import question, unordered


def client(server, deployment):
    """It knows the registry; everything stored goes through the server."""
    config = RepoConfig(
        project=deployment.project,
        provider="local",
        registry=str(deployment.repo / "registry.db"),
        online_store={"type": "remote", "path": f"http://{server.address}", "connection_retries": 0},
        offline_store={"type": "file"},
        entity_key_serialization_version=deployment.key_version,
        repo_path=str(deployment.repo),
    )
    return FeatureStore(config=config)


@pytest.fixture
def clients(store_pair):
    """Pointed at `feast serve`, and at Terrarium; both servers are on the same store."""
    deployment = store_pair.by_feast
    servers = store_pair.feast(deployment), store_pair.terrarium(deployment)
    return [client(server, deployment) for server in servers]


@pytest.mark.parametrize("view", FILE_VIEWS)
def test_features_are_read(clients, view):
    features, keys, sent = question(view)
    if sent is None:
        pytest.skip("keys of bytes cannot be sent as JSON, to Feast neither")
    through_feast, through_terrarium = (attempt(lambda c=c: sdk_answer(c, features, sent)) for c in clients)
    if isinstance(through_feast, Exception):
        assert repr(through_terrarium) == repr(through_feast)  # the client cannot take what the server says
        return
    if isinstance(through_terrarium, Exception):
        raise through_terrarium
    found = differences(through_terrarium, through_feast, unordered(view))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("service", ["plain", "aliased"])
def test_services_are_read(clients, service):
    keys = {
        "plain": {"driver_id": [d for d, _ in PAIRS], "rider_code": [r for _, r in PAIRS]},
        "aliased": {"pickup_driver": [1, 2, 404], "dropoff_driver": [3, 1, 2]},
    }
    answers = [sdk_answer(c, c.get_feature_service(service), keys[service], full_feature_names=True) for c in clients]
    found = differences(answers[1], answers[0])
    assert not found, "\n".join(found)


def test_refusals_reach_the_client(clients):
    for features, keys in [(["nowhere:rate"], {"driver_id": [1]}), (["stats:nope"], {"driver_id": [1]}), (["stats:rate"], {"x": [1]})]:
        through_feast, through_terrarium = (attempt(lambda c=c: sdk_answer(c, features, keys)) for c in clients)
        assert isinstance(through_feast, Exception)
        # Not always of one kind: now and then Feast's server resets the connection after an error.
        assert isinstance(through_terrarium, Exception), (features, through_terrarium)


@pytest.mark.parametrize("how", ["write_to_online_store", "push"])
def test_rows_are_written(store_pair, how):
    """Through Terrarium into its store and through `feast serve` into Feast's: both SDKs then read the same."""
    written = []
    for deployment, server in [
        (store_pair.by_feast, store_pair.feast(store_pair.by_feast)),
        (store_pair.by_terrarium, store_pair.terrarium(store_pair.by_terrarium)),
    ]:
        first = 7000 if how == "push" else 7100
        ids = list(range(first, first + 3))
        times = pd.to_datetime([NOON + timedelta(days=1, microseconds=i + 1) for i in range(3)], utc=True)  # Feast takes one format a column
        rows = pd.DataFrame(
            {
                "driver_id": ids,
                "rate": [0.25, 1e-7, -1.5],
                "trips": [1, 2**60 + 1, -3],
                "city": ["Zürich", "", "x"],
                "event_timestamp": times,
                "created": times,
            }
        )
        remote = client(server, deployment)
        remote.push("stats_push", rows) if how == "push" else remote.write_to_online_store("stats", rows)
        written.append(sdk_answer(deployment.feast(), ["stats:rate", "stats:trips", "stats:city"], {"driver_id": ids}))
    found = differences(written[1], written[0])
    assert not found, "\n".join(found)
    assert all(value is not None for vectors in written[0]["results"] for value in vectors["values"])


def attempt(call):
    try:
        return call()
    except Exception as error:
        return error
