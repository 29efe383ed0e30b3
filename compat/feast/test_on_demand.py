"""On-demand features in models, and those that are kept in the online store: Terrarium beside the real Feast.

A model of weights over computed features predicts what MLflow predicts over Feast's `get_online_features`. Written views are
materialized by each into a store of its own, whose rows must be equal but for the moment of the write. A service's
precomputed vectors hold after our writes what Feast's own hold after its writes.
"""

import os
import sqlite3
from datetime import UTC, datetime, timedelta

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
from feast.infra.online_stores.helpers import _mmh3
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.core.PrecomputedFeatureVector_pb2 import PrecomputedFeatureVector
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64, String
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from onnx import TensorProto, helper, numpy_helper
from server_process import free_port
from terrarium_process import Terrarium, run
from test_transformation import TransformationServer

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
START, END = NOON - timedelta(days=1), NOON + timedelta(days=1)
REDIS_DATABASES = {"feast": 13, "terrarium": 14}
COLUMNS = ["fare", "half", "rate", "distance_km"]
WEIGHTS = [0.5, -2.0, 3.0, 0.25]

SETTINGS = """\
project: {project}
provider: local
registry: {{path: registry.db, cache_ttl_seconds: 60}}
online_store: {online}
offline_store: {{type: file}}
entity_key_serialization_version: 3
feature_server: {{transformation_service_endpoint: "{transformations}"}}
"""
TERRARIUM = """\
[features]
repo = "."
timeout = "10s"
[features.on_demand.fare]
sql = "SELECT stats__rate * distance_km + pax AS fare, city || ':' || pax AS tag FROM input"
[features.on_demand.per_trip]
sql = "SELECT rate / nullif(trips, 0) AS per_trip, upper(city) AS shout FROM input"
[features.on_demand.both]
sql = "SELECT rate + tip AS sum, coalesce(tip, -1) AS tip_or_none FROM input"
[models.fares]
features = "rides"
"""


def objects():
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)

    def view(name, ttl, *fields):
        source = FileSource(name=f"{name}_source", path=f"{name}.parquet", timestamp_field="event_timestamp", created_timestamp_column="created")
        source = PushSource(name=f"{name}_push", batch_source=source)
        return FeatureView(name=name, entities=[driver], ttl=ttl, source=source, schema=[Field(name="driver_id", dtype=Int64), *fields])

    stats = view("stats", timedelta(0), Field(name="rate", dtype=Float64), Field(name="trips", dtype=Int64), Field(name="city", dtype=String))
    tips = view("tips", timedelta(hours=2), Field(name="tip", dtype=Float64))
    ride = RequestSource(name="ride", schema=[Field(name="distance_km", dtype=Float64), Field(name="pax", dtype=Int64)])

    @on_demand_feature_view(sources=[stats, ride], schema=[Field(name="fare", dtype=Float64), Field(name="tag", dtype=String)], mode="python")
    def fare(inputs):
        rows = list(zip(inputs["rate"], inputs["distance_km"], inputs["pax"], inputs["city"]))
        return {
            "fare": [None if rate is None else rate * km + pax for rate, km, pax, _ in rows],
            "tag": [None if city is None else f"{city}:{pax}" for _, _, pax, city in rows],
        }

    @on_demand_feature_view(sources=[stats, ride], schema=[Field(name="half", dtype=Float64)], mode="pandas")
    def half(df: pd.DataFrame) -> pd.DataFrame:
        out = pd.DataFrame()
        out["half"] = df["rate"] / 2.0 + df["distance_km"]
        return out

    written = dict(entities=[driver], mode="python", write_to_online_store=True)

    @on_demand_feature_view(
        sources=[stats], schema=[Field(name="driver_id", dtype=Int64), Field(name="per_trip", dtype=Float64), Field(name="shout", dtype=String)], **written
    )
    def per_trip(inputs):
        empty = lambda value: value is None or value != value  # noqa: E731
        rows = list(zip(inputs["rate"], inputs["trips"], inputs["city"]))
        return {
            "per_trip": [None if empty(rate) or empty(trips) or trips == 0 else rate / trips for rate, trips, _ in rows],
            "shout": [None if empty(city) else city.upper() for _, _, city in rows],
        }

    @on_demand_feature_view(
        sources=[stats, tips], schema=[Field(name="driver_id", dtype=Int64), Field(name="sum", dtype=Float64), Field(name="tip_or_none", dtype=Float64)], **written
    )
    def both(inputs):
        empty = lambda value: value is None or value != value  # noqa: E731
        rows = list(zip(inputs["rate"], inputs["tip"]))
        return {
            "sum": [None if empty(rate) or empty(tip) else rate + tip for rate, tip in rows],
            "tip_or_none": [-1.0 if empty(tip) else tip for _, tip in rows],
        }

    rides = FeatureService(name="rides", features=[fare, half, stats[["rate"]]])
    ready = FeatureService(name="ready", features=[stats, tips], precompute_online=True)
    return [driver, stats, tips, fare, half, per_trip, both, rides, ready]


def write_sources(directory):
    """Of each driver two rows; the tips of driver 2 are of the same moment as its stats, the others' within their ttl."""
    drivers = [1, 2, 3, 4] * 2
    times = [NOON - timedelta(hours=3 + i) for i in range(4)] + [NOON + timedelta(minutes=i) for i in range(4)]
    stats = {"driver_id": drivers, "rate": [9.0] * 4 + [0.5, -2.25, 1e300, 4.0], "trips": [1] * 4 + [7, 0, -3, 2]}
    stats |= {"city": ["x"] * 4 + ["köln", "", "são paulo", "y"], "event_timestamp": times, "created": times}
    pd.DataFrame(stats).to_parquet(directory / "stats.parquet")
    times = [NOON - timedelta(hours=1)] * 4 + [NOON + timedelta(minutes=i if i == 1 else i - 30) for i in range(4)]
    tips = {"driver_id": drivers, "tip": [8.0] * 4 + [1.5, 2.5, 3.5, 4.5], "event_timestamp": times, "created": times}
    pd.DataFrame(tips).to_parquet(directory / "tips.parquet")


class Repo:
    def __init__(self, directory, store, writer, transformations="127.0.0.1:1"):
        self.directory, self.store, self.writer = directory, store, writer
        directory.mkdir()
        (directory / "models").mkdir()
        online = "{type: sqlite, path: online.db}"
        if store == "redis":
            online = f"{{type: redis, connection_string: '{os.environ['TERRARIUM_REDIS']},db={REDIS_DATABASES[writer]}'}}"
            self.remove_keys()
        settings = SETTINGS.format(project=self.project, online=online, transformations=transformations)
        (directory / "feature_store.yaml").write_text(settings)
        (directory / "terrarium.toml").write_text(TERRARIUM)
        write_sources(directory)
        self.feast = FeatureStore(repo_path=str(directory))
        self.feast.apply(objects())

    def client(self):
        host, port = os.environ["TERRARIUM_REDIS"].split(",")[0].rsplit(":", 1)
        return redis.Redis(host=host, port=int(port), db=REDIS_DATABASES[self.writer])

    def remove_keys(self):
        """What an earlier test left: only this module has such keys."""
        client = self.client()
        for key in client.scan_iter(match=f"*{self.project}", count=1000):
            client.delete(key)

    @property
    def project(self):
        return f"on_demand_{self.store}"

    def terrarium(self, *arguments):
        done = run(self.directory, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def rows(self, view):
        """What the store has of a view, by key and feature."""
        table = sqlite3.connect(self.directory / "online.db").execute(f'SELECT entity_key, feature_name, value FROM "{self.project}_{view}"')
        return {(key, name): Value.FromString(value) for key, name, value in table}

    def read(self, features):
        rows = [{"driver_id": driver} for driver in (1, 2, 3, 4, 99)]
        return self.feast.get_online_features(features=features, entity_rows=rows).to_dict()

    def vectors(self):
        """By driver: features by name, and the moments of the views."""
        client = self.client()
        found = {}
        for key in client.scan_iter(match=f"*{self.project}", count=1000):
            stamps = [field for field in client.hkeys(key) if field == b"_ts:__precomputed__ready"]
            if not stamps:
                continue
            value = Value.FromString(client.hget(key, _mmh3("__precomputed__ready:vector")))
            vector = PrecomputedFeatureVector.FromString(value.bytes_val)
            times = {time.feature_view_name: time.event_timestamp.ToJsonString() for time in vector.fv_timestamps}
            found[key] = dict(zip(vector.feature_names, map(str, vector.values), strict=True)), times
        return found


def save_model(directory):
    """The weighted sum of its columns, in double precision."""
    weights = numpy_helper.from_array(np.array(WEIGHTS).reshape(-1, 1), "weights")
    node = helper.make_node("MatMul", ["x", "weights"], ["score"])
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, len(WEIGHTS)])
    score = helper.make_tensor_value_info("score", TensorProto.DOUBLE, [None, 1])
    graph = helper.make_graph([node], "fares", [x], [score], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    columns = [ColSpec("double", name) for name in COLUMNS]
    mlflow.onnx.save_model(model, str(directory), signature=ModelSignature(Schema(columns), Schema([ColSpec("double", "score")])))


@pytest.fixture(scope="module")
def fares(tmp_path_factory):
    port = free_port()
    repo = Repo(tmp_path_factory.mktemp("fares") / "repo", "sqlite", "feast", f"127.0.0.1:{port}")
    repo.feast.materialize(START, END, ["stats"])
    save_model(repo.directory / "models" / "fares" / "1")
    with TransformationServer(repo.directory, port), Terrarium(repo.directory, {}) as server:
        yield repo, server


def of_mlflow(repo, request):
    """MLflow on what Feast gives: with nulls as NaN, and request columns beside the features."""
    rows = [dict(zip(request, row)) for row in zip(*request.values())]
    features = repo.feast.get_online_features(features=repo.feast.get_feature_service("rides"), entity_rows=rows).to_dict()
    frame = pd.DataFrame({name: features.get(name, request.get(name)) for name in COLUMNS}).astype("float64")
    model = mlflow.pyfunc.load_model(str(repo.directory / "models" / "fares" / "1"))
    return np.asarray(model.predict(frame)["score"]).ravel().tolist()


def shown(values):
    return [np.nan if value in ("NaN", None) else value for value in values]


@pytest.mark.parametrize("seed", range(10))
def test_a_model_predicts_what_mlflow_predicts_on_feasts_features(fares, seed):
    repo, server = fares
    random = np.random.default_rng(seed)
    n_rows = int(random.integers(1, 20))
    request = {
        "driver_id": [int(driver) for driver in random.choice([1, 2, 4, 99], n_rows)],
        "distance_km": [float(km) for km in random.normal(5, 3, n_rows).round(3)],
        "pax": [int(pax) for pax in random.integers(0, 5, n_rows)],
    }
    wanted = of_mlflow(repo, request)
    entities = {"driver_id": request["driver_id"]}
    inputs = {name: request[name] for name in ("distance_km", "pax")}
    response = server.predict("fares", {"entities": entities, "inputs": inputs})
    assert response.status_code == 200, response.text
    assert shown(response.json()["outputs"]["score"]) == pytest.approx(wanted, rel=1e-12, nan_ok=True)
    frame = {"dataframe_split": {"columns": list(request), "data": [list(row) for row in zip(*request.values())]}}
    response = server.post("/models/fares/invocations", frame)
    assert response.status_code == 200, response.text
    scores = [row["score"] if isinstance(row, dict) else row for row in response.json()["predictions"]]
    assert shown(scores) == pytest.approx(wanted, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("view", ["per_trip", "both"])
def test_a_written_view_is_materialized_as_by_feast(tmp_path, view):
    by_feast = Repo(tmp_path / "by_feast", "sqlite", "feast")
    by_terrarium = Repo(tmp_path / "by_terrarium", "sqlite", "terrarium")
    by_feast.feast.materialize(START, END, [view])
    by_terrarium.terrarium("features", "materialize", START.isoformat(), END.isoformat(), "--views", view)
    wanted = by_feast.rows(view)
    assert len(wanted) == 4 * 3
    assert by_terrarium.rows(view) == wanted
    by_terrarium.terrarium("features", "materialize-incremental", END.isoformat(), "--views", view)
    assert by_terrarium.rows(view) == wanted


def test_all_views_are_materialized_with_the_written_ones(tmp_path):
    by_feast = Repo(tmp_path / "by_feast", "redis", "feast")
    by_terrarium = Repo(tmp_path / "by_terrarium", "redis", "terrarium")
    by_feast.feast.materialize(START, END)
    by_terrarium.terrarium("features", "materialize", START.isoformat(), END.isoformat())
    features = ["per_trip:per_trip", "per_trip:shout", "stats:rate", "tips:tip"]
    assert by_terrarium.read(features) == by_feast.read(features)


def test_vectors_are_as_new_as_the_rows_that_were_written(tmp_path):
    by_feast = Repo(tmp_path / "by_feast", "redis", "feast")
    by_terrarium = Repo(tmp_path / "by_terrarium", "redis", "terrarium")
    by_feast.feast.materialize(START, END, ["stats", "tips"])
    by_terrarium.terrarium("features", "materialize", START.isoformat(), END.isoformat(), "--views", "stats,tips")
    assert len(by_feast.vectors()) == 4
    assert by_terrarium.vectors() == by_feast.vectors()
    later = NOON + timedelta(hours=5)
    df = {"driver_id": [2, 4], "tip": [20.5, None], "event_timestamp": [later, later], "created": [later, later]}
    by_feast.feast.push("tips_push", pd.DataFrame(df))
    columns = df | {name: [later.isoformat()] * 2 for name in ("event_timestamp", "created")}
    with Terrarium(by_terrarium.directory, {}) as server:
        response = server.post("/push", {"push_source_name": "tips_push", "df": columns})
        assert response.status_code == 200, response.text
    assert by_terrarium.vectors() == by_feast.vectors()


def test_what_is_deleted_is_gone_for_feast(tmp_path):
    repo = Repo(tmp_path / "repo", "redis", "terrarium")
    repo.feast.materialize(START, END, ["stats", "tips"])
    refused = run(repo.directory, "features", "delete-view", "tips")
    assert refused.returncode != 0 and "--yes" in refused.stdout + refused.stderr
    repo.terrarium("features", "delete-view", "tips", "--yes")
    left = repo.read(["stats:rate", "tips:tip"])
    assert left["tip"] == [None] * 5 and left["rate"][:2] == [0.5, -2.25]
    repo.terrarium("features", "delete-view", "stats", "--join-keys", "driver_id", "--features", "rate,trips,city", "--yes")
    assert repo.read(["stats:rate"])["rate"] == [None] * 5
