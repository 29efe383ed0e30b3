"""The same rows pushed by the real Feast and by `terrarium features push` leave the same in two stores.

    .terrarium/venv/bin/python -m pytest compat/feast/test_push.py
TERRARIUM_BIN    the binary, default target/debug/terrarium
TERRARIUM_REDIS  host:port of a running Redis; only databases 11 and 12 are used, and only keys of project `pushes`
TERRARIUM_POSTGRES  a running Postgres; only schemas that begin with `terrarium_compat_` are used
"""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import warnings
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import (
    Array,
    Bool,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
)
from repository import connect_postgres, postgres_store, remove_postgres_schemas

CHECKOUT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TERRARIUM_BIN", CHECKOUT / "target" / "debug" / "terrarium")).resolve()
PROJECT = "pushes"
REDIS_DBS = {"feast": 11, "terrarium": 12}

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")

SCALARS = {"i64": Int64, "i32": Int32, "f64": Float64, "f32": Float32, "flag": Bool, "text": String}
TEXTS = {"seen_at": UnixTimestamp, "uid": Uuid, "dec": Decimal, "js": Json}
NESTED = {
    "l_i64": Array(Int64),
    "l_f64": Array(Float64),
    "l_str": Array(String),
    "l_bool": Array(Bool),
    "s_i64": Set(Int64),
    "m": Map,
    "st": Struct({"a": Int64}),
    "nested": Array(Array(Int64)),
}


def source(name, **options):
    return FileSource(
        name=f"src_{name}",
        path=f"data/{name}.parquet",
        timestamp_field="event_ts",
        created_timestamp_column="created_ts",
        **options,
    )


def objects():
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    rider = Entity(name="rider", join_keys=["rider_code"], value_type=ValueType.STRING)
    events = PushSource(name="events", batch_source=source("events"))

    def view(name, entities, features, own_source):
        keys = {"driver_id": Int64, "rider_code": String}
        names = [key for entity in entities for key in [entity.join_key]]
        schema = [Field(name=key, dtype=keys[key]) for key in names]
        schema += [Field(name=feature, dtype=dtype) for feature, dtype in features.items()]
        return FeatureView(name=name, entities=entities, schema=schema, source=own_source, ttl=timedelta(days=1))

    scalars = view("scalars", [driver], SCALARS, events)
    texts = view("texts", [driver], TEXTS, PushSource(name="texts_push", batch_source=source("texts")))
    nested = view("nested_values", [driver], NESTED, PushSource(name="nested_push", batch_source=source("nested")))
    pair = view("pair", [rider, driver], {"i64": Int64}, events)
    live = view("live", [driver], {"i64": Int64, "text": String}, PushSource(name="live_push", batch_source=source("live")))

    @on_demand_feature_view(
        sources=[live],
        entities=[driver],
        schema=[Field(name="driver_id", dtype=Int64), Field(name="doubled", dtype=Int64)],
        mode="python",
        write_to_online_store=True,
    )
    def doubled(inputs):
        return {"doubled": [2 * value for value in inputs["i64"]]}

    return [driver, rider, scalars, texts, nested, pair, live, doubled]


def at(*texts):
    return {"event_ts": list(texts), "created_ts": ["2024-03-05T10:00:01"] * len(texts)}


def scalars(n=1, **columns):
    """Columns for both views of the push source `events`."""
    defaults = {
        "driver_id": list(range(1, n + 1)),
        "rider_code": ["r"] * n,
        "i64": [5] * n,
        "i32": [4] * n,
        "f64": [1.5] * n,
        "f32": [0.1] * n,
        "flag": [True] * n,
        "text": ["x"] * n,
    }
    return at(*["2024-03-05T10:00:00"] * n) | defaults | columns


def texts(**columns):
    defaults = {"driver_id": [1], "seen_at": [1], "uid": ["u"], "dec": ["1.50"], "js": ["[1]"]}
    return at("2024-03-05T10:00:00") | defaults | columns


def nested(**columns):
    defaults = {
        "driver_id": [1],
        "l_i64": [[1, 2]],
        "l_f64": [[1.5, None]],
        "l_str": [["a", None]],
        "l_bool": [[True, None]],
        "s_i64": [[3, 3, 1]],
        "m": [{"a": 1, "b": {"c": "x"}}],
        "st": [{"a": 1}],
        "nested": [[[1], []]],
    }
    return at("2024-03-05T10:00:00") | defaults | columns


PUSHES = [
    ("events", scalars()),
    ("events", scalars(2, i64=[2**53 + 1, None], f64=[None, -0.0], flag=[None, False], text=["1", None])),
    ("events", scalars(i64=["7"], f32=["1e3"], text=[5], flag=[0])),
    ("events", scalars(2, text=[1, None], i32=[1.9, -1.9])),
    ("events", scalars(event_ts=["2024-03-05T12:00:00+02:00"], i64=[1])),
    ("events", scalars(event_ts=["2024-03-04T00:00:00"], i64=[2])),
    ("events", scalars(event_ts=["2024-03-07"], i64=[3])),
    ("events", scalars(event_ts=[1709856000000000123], created_ts=[1709856000000000000], i64=[4])),
    ("events", scalars(3, driver_id=[8, 8, 8], event_ts=["2024-03-06 10:00:00.250", "2024-03-06 09:00:00.5", "2024-03-06 11:00:00.0"], i64=[1, 2, 3])),
    ("events", scalars(i64=[None], i32=[None], f64=[None], f32=[None], flag=[None], text=[None], driver_id=[99])),
    ("events", {}),
    ("texts_push", texts(seen_at=[1709596800], uid=["6f1c1a52-54cf-4f3b-9c5e-0d7d8b1e2a34"])),
    ("texts_push", texts(driver_id=[2], js=[' {"a" : 1}'], seen_at=[-1])),
    ("texts_push", texts(driver_id=[3], js=[{"a": 1.5, "é": None}], seen_at=["12"], dec=[None])),
    ("nested_push", nested()),
    ("nested_push", nested(driver_id=[2], l_i64=[[]], l_f64=[None], m=['{"k": [1, 2]}'], st=[None], nested=[None])),
    (
        "nested_push",
        at("2024-03-05T10:00:00", "2024-03-05T10:00:00")
        | {"driver_id": [3, 4], "l_i64": [None, [1]], "l_f64": [[1.0], [2.5]], "l_str": [[], ["b"]], "l_bool": [[False], None]}
        | {"s_i64": [[1], [2]], "m": [{"a": 1}, {"b": 2.5}], "st": [{"a": 1}, {"a": None}], "nested": [[[1], [2]], [[3]]]},
    ),
    ("live_push", at("2024-03-05T10:00:00") | {"driver_id": [1], "i64": [21], "text": ["x"]}),
]
REFUSED = [
    ("events", scalars(i64=["x"])),
    ("events", scalars(i32=[2**31])),
    ("events", scalars(f64=["1.5"])),
    ("events", scalars(2, text=["a", 1])),
    ("events", scalars(driver_id=[None])),
    ("events", scalars(event_ts=["soon"])),
    ("events", scalars(2, event_ts=["2024-03-05", "2024-03-05T10:00:00"])),
    ("events", {name: values for name, values in scalars().items() if name != "f32"}),
    ("events", {name: values for name, values in scalars().items() if name != "created_ts"}),
    ("texts_push", texts(js=["{bad"])),
    ("texts_push", texts(seen_at=["2024-03-05T00:00:00"])),
    ("nested_push", nested(l_i64=[[1, None]])),
    ("nested_push", nested(l_str=[[1]])),
    ("nobody", scalars()),
]


class Stores:
    """One repository in two directories: Feast writes into the one, Terrarium into the other."""

    def __init__(self, directory, kind):
        self.kind = kind
        self.repos = {writer: directory / writer for writer in REDIS_DBS}
        applied = objects()
        for writer, repo in self.repos.items():
            (repo / "data").mkdir(parents=True)
            (repo / "feature_store.yaml").write_text(self.settings(writer))
        self.feast = FeatureStore(repo_path=str(self.repos["feast"]))
        self.write_sources()
        self.feast.apply(applied)
        shutil.copy(self.repos["feast"] / "registry.db", self.repos["terrarium"] / "registry.db")

    def settings(self, writer):
        online = {"type": "sqlite", "path": "online.db"}
        if self.kind == "redis":
            address = os.environ["TERRARIUM_REDIS"].split(",")[0]
            online = {"type": "redis", "connection_string": f"{address},db={REDIS_DBS[writer]}"}
        if self.kind == "postgres":
            online = json.loads(postgres_store(f"push_{writer}"))
        settings = {"project": PROJECT, "registry": "registry.db", "provider": "local", "online_store": online}
        return json.dumps(settings | {"offline_store": {"type": "file"}, "entity_key_serialization_version": 3})

    def write_sources(self):
        """The offline file of `live`; the others are never read."""
        micros = pa.timestamp("us", tz="UTC")
        moment = pa.array([1709600400000000], pa.int64()).cast(micros)
        table = pa.table({"driver_id": [7], "event_ts": moment, "created_ts": moment, "i64": [1], "text": ["old"]})
        for repo in self.repos.values():
            for name in ("events", "texts", "nested", "live"):
                pq.write_table(table, repo / "data" / f"{name}.parquet")

    def terrarium(self, *arguments, df):
        return subprocess.run(
            [BINARY, "features", *arguments, "--file", "-", "--json"],
            input=json.dumps(df),
            cwd=self.repos["terrarium"].parent,
            env=os.environ | {"TERRARIUM__FEATURES__REPO": str(self.repos["terrarium"])},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def contents(self, writer):
        return self.hashes(writer) if self.kind == "redis" else self.rows(writer)

    def rows(self, writer):
        """(view, key, feature) -> everything that stands there."""
        rows = {}
        if self.kind == "postgres":
            database, names = connect_postgres(f"push_{writer}"), "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        else:
            database, names = sqlite3.connect(self.repos[writer] / "online.db"), "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = [name for (name,) in database.execute(names)]
        for table in tables:
            sql = f'SELECT entity_key, feature_name, value, value_text, event_ts, created_ts FROM "{table}"'
            for key, feature, value, *others in database.execute(sql):
                rows[table, key, feature] = canonical(value), *others
        database.close()
        return rows

    def hashes(self, writer):
        client = client_of(writer)
        hashes = {}
        for key in client.scan_iter(match=b"*" + PROJECT.encode()):
            fields = client.hgetall(key).items()
            hashes[key] = {
                field: value if field.startswith(b"_ts:") else canonical(value) for field, value in fields
            }
        return hashes


def client_of(writer):
    host, port = os.environ["TERRARIUM_REDIS"].split(",")[0].rsplit(":", 1)
    return redis.Redis(host=host, port=int(port), db=REDIS_DBS[writer])


def canonical(value):
    """A Value with its maps and sets in order: theirs means nothing."""
    parsed = Value.FromString(value)
    for name in ("int64_set_val", "string_set_val"):
        if parsed.HasField(name):
            getattr(parsed, name).val.sort()
    return parsed.SerializeToString(deterministic=True)


def clean_redis():
    for writer in REDIS_DBS:
        client = client_of(writer)
        for key in client.scan_iter(match=b"*" + PROJECT.encode()):
            client.delete(key)


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def stores(request, tmp_path):
    clean_up()
    yield Stores(tmp_path, request.param)
    clean_up()


def clean_up():
    clean_redis()
    remove_postgres_schemas("push_")


def frame_of(df):
    return pd.DataFrame(df)


def test_pushes_leave_the_same_rows(stores):
    for number, (source_name, df) in enumerate(PUSHES):
        stores.feast.push(source_name, frame_of(df))
        outcome = stores.terrarium("push", source_name, df=df)
        assert outcome.returncode == 0, outcome.stderr
        assert stores.contents("terrarium") == stores.contents("feast"), f"push {number}: {df}"
    assert stores.contents("feast")


def test_what_feast_refuses_is_refused_and_nothing_is_written(stores):
    for source_name, df in REFUSED:
        with pytest.raises(Exception):
            stores.feast.push(source_name, frame_of(df))
        outcome = stores.terrarium("push", source_name, df=df)
        assert outcome.returncode == 1, f"{df}: {outcome.stdout}"
        assert outcome.stderr.startswith("error: ")
    if stores.kind in ("redis", "postgres"):
        assert stores.contents("terrarium") == {}
    else:
        assert not (stores.repos["terrarium"] / "online.db").exists()


def test_writes_to_one_view_leave_the_same_rows(stores):
    df = at("2024-03-05T10:00:00") | {"driver_id": [5], "i64": [21], "text": ["x"]}
    stores.feast.write_to_online_store("live", frame_of(df))
    outcome = stores.terrarium("write", "live", df=df)
    assert json.loads(outcome.stdout) == {"rows": 1, "views": ["live"]}
    assert stores.contents("terrarium") == stores.contents("feast")


def test_a_written_on_demand_view_has_the_same_values(stores):
    df = {"driver_id": [5, 6], "i64": [21, 4], "text": ["x", "y"], "doubled": [42, 8]}
    stores.feast.write_to_online_store("doubled", frame_of(df), transform_on_write=False)
    assert stores.terrarium("write", "doubled", "--transformed", df=df).returncode == 0

    def values(writer):
        """Without the moments of the two writes."""
        contents = stores.contents(writer)
        if stores.kind == "redis":
            return {key: {f: v for f, v in fields.items() if not f.startswith(b"_ts:")} for key, fields in contents.items()}
        return {place: (value, text) for place, (value, text, *_) in contents.items()}

    assert values("feast") and values("terrarium") == values("feast")


@pytest.mark.parametrize("to", ["offline", "online-and-offline"])
def test_offline_files_hold_the_same_rows(tmp_path, to):
    from feast.data_source import PushMode

    stores = Stores(tmp_path, "sqlite")
    df = {"driver_id": [5, 6], "i64": [21, 4], "text": ["x", None]}
    df |= {"event_ts": ["2024-03-05T10:00:00Z", "2024-03-05T10:00:00+02:00"], "created_ts": ["2024-03-05T10:00:00.5Z"] * 2}
    mode = {"offline": PushMode.OFFLINE, "online-and-offline": PushMode.ONLINE_AND_OFFLINE}[to]
    stores.feast.push("live_push", frame_of(df), to=mode)
    outcome = stores.terrarium("push", "live_push", "--to", to, df=df)
    assert outcome.returncode == 0, outcome.stderr
    files = {writer: pq.read_table(repo / "data" / "live.parquet") for writer, repo in stores.repos.items()}
    assert files["terrarium"].num_rows == 3
    assert files["terrarium"].equals(files["feast"])
    if to == "online-and-offline":
        assert stores.contents("terrarium") == stores.contents("feast")
