"""On-demand feature views: Terrarium's answers equal the real Feast's, where Feast computes them in its own process.

`mode="pandas"` goes from Terrarium through the real `feast serve_transformations`; `mode="python"` is SQL in terrarium.toml.
"""

import math
import socket
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp
from feast_process import FEAST
from server_process import ServerProcess, free_port
from terrarium_process import Terrarium

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
DRIVERS = [1, 2, 3, 99]  # 99 is nowhere
REQUEST = {"driver_id": DRIVERS, "distance_km": [3.0, 0.5, -1.25, 8.0], "pax": [1, 2, 3, 4]}

SETTINGS = """\
project: on_demand
provider: local
registry: {{path: registry.db, cache_ttl_seconds: 60}}
online_store: {{type: sqlite, path: online.db}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
feature_server: {{transformation_service_endpoint: "{transformations}"}}
"""
TERRARIUM = """\
[features]
repo = "."

[features.on_demand.fare]
sql = '''SELECT stats__rate * distance_km + pax AS fare, city || ':' || pax AS tag,
                trips + pax AS seats, seen_at AS seen FROM input'''
"""


class TransformationServer(ServerProcess):
    name = "transformations"

    def __init__(self, repo, port):
        self.port = port
        super().__init__(repo, [FEAST, "serve_transformations", "--port", str(port)], {"FEAST_USAGE": "False"})

    def ask_ready(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError as error:
            return str(error)
        return None


def objects():
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    stats = FeatureView(
        name="stats",
        entities=[driver],
        ttl=timedelta(0),
        source=FileSource(name="stats_source", path="stats.parquet", timestamp_field="event_timestamp"),
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="trips", dtype=Int64),
            Field(name="city", dtype=String),
            Field(name="seen_at", dtype=UnixTimestamp),
        ],
    )
    ride = RequestSource(name="ride", schema=[Field(name="distance_km", dtype=Float64), Field(name="pax", dtype=Int64)])

    @on_demand_feature_view(
        sources=[stats, ride],
        schema=[Field(name="half", dtype=Float64), Field(name="seats", dtype=Int64), Field(name="shout", dtype=String)],
        mode="pandas",
    )
    def half(df: pd.DataFrame) -> pd.DataFrame:
        out = pd.DataFrame()
        out["half"] = df["stats__rate"] / 2.0 + df["distance_km"]
        out["seats"] = df["trips"].fillna(0).astype("int64") + df["pax"]
        out["shout"] = df["city"].str.upper()
        return out

    @on_demand_feature_view(
        sources=[stats, ride],
        schema=[
            Field(name="fare", dtype=Float64),
            Field(name="tag", dtype=String),
            Field(name="seats", dtype=Int64),
            Field(name="seen", dtype=UnixTimestamp),
        ],
        mode="python",
    )
    def fare(inputs):
        def each(function, *names):
            rows = zip(*(inputs[name] for name in names))
            return [None if any(value is None for value in row) else function(*row) for row in rows]

        return {
            "fare": each(lambda rate, km, pax: rate * km + pax, "rate", "distance_km", "pax"),
            "tag": each(lambda city, pax: f"{city}:{pax}", "city", "pax"),
            "seats": each(lambda trips, pax: trips + pax, "trips", "pax"),
            "seen": each(lambda seen: seen, "seen_at"),
        }

    return [driver, stats, half, fare]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("on_demand")
    rows = {
        "driver_id": [1, 2, 3],
        "rate": [0.5, -2.25, 1e300],
        "trips": [7, 0, -3],
        "city": ["Köln", "", "São Paulo"],
        "seen_at": [NOON, NOON - timedelta(days=9), NOON + timedelta(seconds=1)],
        "event_timestamp": [NOON] * 3,
    }
    pd.DataFrame(rows).to_parquet(directory / "stats.parquet")
    port = free_port()
    (directory / "feature_store.yaml").write_text(SETTINGS.format(transformations=f"127.0.0.1:{port}"))
    (directory / "terrarium.toml").write_text(TERRARIUM)
    (directory / "models").mkdir()
    store = FeatureStore(repo_path=str(directory))
    store.apply(objects())
    store.materialize(NOON - timedelta(days=1), NOON + timedelta(days=1))
    return directory, port, store


@pytest.fixture(scope="module")
def terrarium(repo):
    directory, _, _ = repo
    with Terrarium(directory, {}) as server:
        yield server


def ask(server, features):
    response = server.post("/get-online-features", {"features": features, "entities": REQUEST})
    assert response.status_code == 200, response.text
    answer = response.json()
    values = [column["values"] for column in answer["results"]]
    return dict(zip(answer["metadata"]["feature_names"], values))


def of_feast(store, features):
    """As the feature server would render it."""
    rows = [dict(zip(REQUEST, row)) for row in zip(*REQUEST.values())]
    columns = store.get_online_features(features=features, entity_rows=rows).to_dict()
    seconds = lambda value: int(value.timestamp()) if isinstance(value, datetime) else value  # noqa: E731
    shown = lambda value: None if isinstance(value, float) and math.isnan(value) else seconds(value)  # noqa: E731
    return {name: [shown(value) for value in values] for name, values in columns.items()}


def test_pandas_views_go_through_feasts_transformation_server(repo, terrarium):
    directory, port, store = repo
    features = ["half:half", "half:seats", "half:shout", "stats:rate"]
    with TransformationServer(directory, port):
        assert ask(terrarium, features) == of_feast(store, features)
        assert ask(terrarium, features[:1]) == of_feast(store, features[:1])


def test_a_transformation_server_that_comes_back_is_used_again(repo, terrarium):
    directory, port, store = repo
    features = ["half:half"]
    for _ in range(2):
        response = terrarium.post("/get-online-features", {"features": features, "entities": REQUEST})
        assert response.status_code == 503 or response.status_code == 500, response.text
        assert "transformation service" in response.text
        with TransformationServer(directory, port):
            until = time.monotonic() + 20
            while True:
                try:
                    assert ask(terrarium, features) == of_feast(store, features)
                    break
                except AssertionError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.2)


def test_sql_gives_what_the_python_function_gives(repo, terrarium):
    _, _, store = repo
    features = ["fare:fare", "fare:tag", "fare:seats", "fare:seen"]
    assert ask(terrarium, features) == of_feast(store, features)
