"""The feature repository of these suites, made by the real Feast: a view for each value type, for each key type, and the
shapes that requests can have (several keys, none, aliases, services, push sources).

A `Deployment` is that repository in a directory of its own, with one online store and one version of the entity keys.
"""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Float64, Int64, String
from terrarium_process import Terrarium, run
from value_types import CASES, KEYS

PROJECT = "zoo"
REDIS_DATABASES = {"feast": 13, "terrarium": 14}  # who writes there
POSTGRES_SCHEMAS = "terrarium_compat_"
START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 2, tzinfo=UTC)
NOON = START + timedelta(hours=12)

CASES_BY_VIEW = {f"of_{case.name}": case for case in CASES}
KEYS_BY_VIEW = {f"by_{name}": (f"{name}_key", arrow, keys, sent, pushed) for name, _, arrow, keys, sent, pushed in KEYS}
OTHER_VIEWS = ["stats", "pair", "market", "mapped"]  # and `unwritten`, which nobody materializes
FILE_VIEWS = [*(view for view, case in CASES_BY_VIEW.items() if case.arrow), *KEYS_BY_VIEW, *OTHER_VIEWS]
API_VIEWS = [view for view, case in CASES_BY_VIEW.items() if not case.arrow]
PAIRS = [(driver, rider) for driver in (1, 2, 3) for rider in ("a", "b")]


def file_source(name, **options):
    return FileSource(
        name=f"{name}_source",
        path=f"data/{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        **options,
    )


def objects():
    """Everything that is applied."""
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    rider = Entity(name="rider", join_keys=["rider_code"], value_type=ValueType.STRING)
    made = [item, driver, rider]

    def view(name, entities, fields, ttl=timedelta(days=1), source=None):
        source = source or PushSource(name=f"{name}_push", batch_source=file_source(name))
        made.append(FeatureView(name=name, entities=entities, schema=fields, source=source, ttl=ttl))
        return made[-1]

    item_id, driver_id = Field(name="item_id", dtype=Int64), Field(name="driver_id", dtype=Int64)
    rider_code = Field(name="rider_code", dtype=String)
    for name, case in CASES_BY_VIEW.items():
        view(name, [item], [item_id, Field(name="value", dtype=case.dtype)])
    for name, dtype, *_ in KEYS:
        entity = Entity(name=f"{name}_entity", join_keys=[f"{name}_key"], value_type=dtype.to_value_type())
        made.append(entity)
        view(f"by_{name}", [entity], [Field(name=f"{name}_key", dtype=dtype), Field(name="n", dtype=Int64)])
    stats = view(
        "stats", [driver], [driver_id, Field(name="rate", dtype=Float64), Field(name="trips", dtype=Int64), Field(name="city", dtype=String)]
    )
    pair = view("pair", [rider, driver], [driver_id, rider_code, Field(name="together", dtype=Int64), Field(name="rate", dtype=Float64)])
    market = view("market", [], [Field(name="surge", dtype=Float64), Field(name="mode", dtype=String)], ttl=timedelta(0))
    renamed = file_source("mapped", field_mapping={"rev_raw": "revenue"})
    view("mapped", [driver], [driver_id, Field(name="revenue", dtype=Float64)], source=renamed)
    view("unwritten", [driver], [driver_id, Field(name="never", dtype=Int64)])
    made.append(FeatureService(name="plain", features=[stats[["rate", "city"]], pair[["together"]], market]))
    made.append(
        FeatureService(
            name="aliased",
            features=[
                stats.with_name("pickup").with_join_key_map({"driver_id": "pickup_driver"}),
                stats[["trips"]].with_name("dropoff").with_join_key_map({"driver_id": "dropoff_driver"}),
            ],
        )
    )
    return made


def write_sources(directory, store):
    directory.mkdir(parents=True, exist_ok=True)
    for name, case in CASES_BY_VIEW.items():
        if case.arrow is None:
            continue
        values = [*case.values, None] if case.null_row else case.values
        if store == "postgres":  # Feast puts text into a column that holds no NUL
            values = [value.replace("\0", "") if isinstance(value, str) else value for value in values]
        write(directory / name, {"item_id": ids(values), "value": pa.array(values, case.arrow)})
    for name, (key, arrow, keys, *_) in KEYS_BY_VIEW.items():
        write(directory / name, {key: pa.array(keys, arrow), "n": pa.array(range(10, 10 + len(keys)), pa.int64())})
    n = range(1, 9)
    write(
        directory / "stats",
        {
            "driver_id": pa.array(n, pa.int64()),
            "rate": pa.array([i / 7 for i in n], pa.float64()),
            "trips": pa.array([i * 1000 for i in n], pa.int64()),
            "city": pa.array([None if i == 5 else f"city {i}" for i in n], pa.string()),
        },
    )
    write(
        directory / "pair",
        {
            "driver_id": pa.array([d for d, _ in PAIRS], pa.int64()),
            "rider_code": pa.array([r for _, r in PAIRS], pa.string()),
            "together": pa.array(range(len(PAIRS)), pa.int64()),
            "rate": pa.array([0.5 * i for i in range(len(PAIRS))], pa.float64()),
        },
    )
    write(directory / "market", {"surge": pa.array([1.25]), "mode": pa.array(["calm"])})
    write(directory / "mapped", {"driver_id": pa.array([1, 2], pa.int64()), "rev_raw": pa.array([10.5, 20.0])})
    write(directory / "unwritten", {"driver_id": pa.array([99], pa.int64()), "never": pa.array([1], pa.int64())}, START - timedelta(days=9))


def ids(values):
    return pa.array(range(1, len(values) + 1), pa.int64())


def write(path, columns, noon=NOON):
    """Each row has an event timestamp of its own, with microseconds."""
    n_rows = len(next(iter(columns.values())))
    times = [noon + timedelta(seconds=i, microseconds=[0, 120000, 345678][i % 3]) for i in range(n_rows)]
    times = pa.array(times, pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table(columns | {"event_timestamp": times, "created": times}), f"{path}.parquet")


class Deployment:
    """`directory/feature_repo` with its own registry, and an online store that only `writer` fills."""

    def __init__(self, directory, store, key_version, writer):
        self.directory, self.store, self.key_version, self.writer = Path(directory), store, key_version, writer
        self.repo = self.directory / "feature_repo"

    def apply(self):
        """Makes it with the real Feast."""
        self.write_settings()
        write_sources(self.repo / "data", self.store)
        self.feast().apply(objects())
        return self

    def copy_to(self, directory, writer):
        """The same for another writer; the online store is still empty."""
        shutil.copytree(self.repo, Path(directory) / "feature_repo")
        copy = Deployment(directory, self.store, self.key_version, writer)
        copy.write_settings()
        return copy

    def write_settings(self):
        self.repo.mkdir(parents=True, exist_ok=True)
        if self.store == "redis":
            address = f"{os.environ['TERRARIUM_REDIS']},db={REDIS_DATABASES[self.writer]}"
            online = f"{{type: redis, connection_string: '{address}'}}"
        elif self.store == "postgres":
            online = postgres_store(f"{self.writer}_v{self.key_version}")
        else:
            online = "{type: sqlite, path: data/online.db}"
        (self.repo / "feature_store.yaml").write_text(
            f"project: {self.project}\nprovider: local\nregistry: registry.db\nonline_store: {online}\n"
            f"offline_store: {{type: file}}\nentity_key_serialization_version: {self.key_version}\n"
        )

    @property
    def project(self):
        return f"{PROJECT}_{self.store}_v{self.key_version}"

    def feast(self):
        return FeatureStore(repo_path=str(self.repo))

    def terrarium(self, environment=None):
        (self.directory / "models").mkdir(exist_ok=True)  # it does not start without a model registry
        return Terrarium(self.directory, environment or {})

    def materialize_with_feast(self):
        """Every view that has a source, and through Feast's API the types that it cannot read from one."""
        store = self.feast()
        store.materialize(START, END, FILE_VIEWS)
        for name in API_VIEWS:
            view, case = store.get_feature_view(name), CASES_BY_VIEW[name]
            keys = [EntityKey(join_keys=["item_id"], entity_values=[Value(int64_val=i + 1)]) for i in range(len(case.values))]
            values = python_values_to_proto_values(case.values, case.dtype.to_value_type())
            rows = [(key, {"value": value}, NOON, NOON) for key, value in zip(keys, values, strict=True)]
            store._get_provider().online_write_batch(store.config, view, rows, None)

    def materialize_with_terrarium(self):
        """The same sources. One view at a time if they do not work together: failure by view."""
        if self.terrarium_materializes(FILE_VIEWS).returncode == 0:
            return {}
        outcomes = {view: self.terrarium_materializes([view]) for view in FILE_VIEWS}
        return {view: done.stdout + done.stderr for view, done in outcomes.items() if done.returncode != 0}

    def terrarium_materializes(self, views):
        return run(self.directory, "features", "materialize", START.isoformat(), END.isoformat(), "--views", ",".join(views))


def postgres_store(name):
    """Settings of a store in a schema of its own."""
    url = urlsplit(os.environ["TERRARIUM_POSTGRES"])
    settings = {"type": "postgres", "host": url.hostname, "port": url.port, "database": url.path[1:], "user": url.username}
    return json.dumps(settings | {"password": url.password, "db_schema": POSTGRES_SCHEMAS + name, "sslmode": "disable"})


def connect_postgres(name):
    """To look into the store of that name."""
    return psycopg.connect(os.environ["TERRARIUM_POSTGRES"], autocommit=True, options=f"-c search_path={POSTGRES_SCHEMAS}{name}")


def remove_postgres_schemas(name=""):
    """Of every store that `postgres_store` names, or of those that begin so."""
    with connect_postgres(name) as connection:
        # Feast leaves transactions open where something failed.
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
        beginning = [POSTGRES_SCHEMAS + name]
        names = connection.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", beginning).fetchall()
        for (name,) in names:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE')


def remove_redis_keys():
    """Of every deployment. A key is the entity key followed by the project's name."""
    host, port = os.environ["TERRARIUM_REDIS"].split(",")[0].rsplit(":", 1)
    for database in REDIS_DATABASES.values():
        client = redis.Redis(host=host, port=int(port), db=database)
        for key in client.scan_iter(match=f"*{PROJECT}_redis_v[23]", count=1000):
            client.delete(key)
