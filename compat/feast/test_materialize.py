"""Materializing in turns: Feast goes on where Terrarium stopped and the other way round, over the recorded point-in-time data.

Whoever did a step, the online store and the registry's watermarks are those that Feast alone leaves. One of Feast's steps is
its command line, the rest its SDK, which that calls.
"""

import json
import os
import shutil
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.protos.feast.core.Registry_pb2 import Registry
from feast_process import FEAST
from repository import PROJECT, REDIS_DATABASES, connect_postgres, postgres_store, remove_postgres_schemas
from terrarium_process import CHECKOUT, run

FIXTURE = CHECKOUT / "tests" / "fixtures" / "feast" / "pit_repo"
OBJECTS = (Entity, FeatureView, FeatureService, OnDemandFeatureView)
VIEWS = ["pit_a", "pit_b", "pit_c", "pit_d", "pit_g"]
START = datetime(2024, 4, 30, tzinfo=UTC)
ENDS = [datetime(2024, 5, 1, hour, tzinfo=UTC) for hour in (9, 11, 13)]


class PitRepo:
    """The fixture's repository in a directory of its own, applied and not materialized."""

    def __init__(self, directory, store):
        self.directory, self.repo, self.store = directory, directory / "feature_repo", store
        self.project = f"{PROJECT}_redis_v3" if store == "redis" else "pit"  # removed with the rest
        shutil.copytree(FIXTURE / "data", self.repo / "data")
        online = "{type: sqlite, path: online.db}"
        if store == "redis":
            self.remove_redis_keys()
            online = f"{{type: redis, connection_string: '{os.environ['TERRARIUM_REDIS']},db={self.database}'}}"
        elif store == "postgres":
            remove_postgres_schemas(self.schema)
            online = postgres_store(self.schema)
        (self.repo / "feature_store.yaml").write_text(
            f"project: {self.project}\nprovider: local\nregistry: registry.db\nonline_store: {online}\n"
            "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
        )
        self.feast().apply(definitions())

    @property
    def database(self):
        return REDIS_DATABASES["feast"] - 1

    @property
    def schema(self):
        return f"pit_{self.directory.name}"

    def redis(self):
        host, port = os.environ["TERRARIUM_REDIS"].split(",")[0].rsplit(":", 1)
        return redis.Redis(host=host, port=int(port), db=self.database)

    def remove_redis_keys(self):
        client = self.redis()
        for key in client.scan_iter(match=f"*{self.project}", count=1000):
            client.delete(key)

    def feast(self):
        return FeatureStore(repo_path=str(self.repo))

    def registry(self):
        return Registry.FromString((self.repo / "registry.db").read_bytes())

    def watermarks(self):
        """View -> its intervals and state."""
        views = {view.spec.name: view.meta for view in self.registry().feature_views}
        return {name: (meta.state, [(i.start_time.ToJsonString(), i.end_time.ToJsonString()) for i in meta.materialization_intervals]) for name, meta in views.items()}

    def stored(self):
        """Everything in the online store, but for the time of writing."""
        if self.store == "redis":
            client = self.redis()
            return {key: client.hgetall(key) for key in client.scan_iter(match=f"*{self.project}", count=1000)}
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'pit_%'"
        connection = sqlite3.connect(self.repo / "online.db")
        if self.store == "postgres":
            names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            connection = connect_postgres(self.schema)
        with closing(connection):
            tables = [name for (name,) in connection.execute(names).fetchall()]
            columns = "entity_key, feature_name, value, value_text, event_ts, created_ts"
            return {table: sorted(connection.execute(f'SELECT {columns} FROM "{table}"').fetchall(), key=repr) for table in tables}


def definitions():
    """What the fixture's Python file defines."""
    module = {"__name__": "pit_features"}
    before = os.environ.get("PIT_BACKEND")
    os.environ["PIT_BACKEND"] = "file"
    try:
        # The on-demand view is left out: Feast wants to read the source of its function from a module.
        source = (FIXTURE / "pit_features.py").read_text().split("preq = RequestSource")[0]
        exec(compile(source, "pit_features.py", "exec"), module)
    finally:
        os.environ.pop("PIT_BACKEND") if before is None else os.environ.update(PIT_BACKEND=before)
    services = FeatureService(name="svc", features=[module["pit_a"][["a1"]], module["pit_b"]])
    return [value for value in module.values() if isinstance(value, OBJECTS)] + [services]


def by_terrarium(repo, start, end, views=()):
    command = ["materialize", start.isoformat(), end.isoformat()] if start else ["materialize-incremental", end.isoformat()]
    done = run(repo.directory, "features", *command, *(["--views", ",".join(views)] if views else []))
    assert done.returncode == 0, done.stdout + done.stderr


def by_feast(repo, start, end, views=()):
    names = list(views) or None
    if start:
        repo.feast().materialize(start, end, names)
    else:
        repo.feast().materialize_incremental(end, names)


def by_feast_cli(repo, start, end, views=()):
    command = ["materialize", start.isoformat(), end.isoformat()] if start else ["materialize-incremental", end.isoformat()]
    chosen = [argument for view in views for argument in ("--views", view)]
    subprocess.run([FEAST, *command, *chosen], cwd=repo.repo, check=True, capture_output=True, timeout=120)


def in_turns(repo, *steps):
    """The first step has a start; the others go on from where the last one ended."""
    for number, (step, end) in enumerate(zip(steps, ENDS, strict=True)):
        step(repo, START if number == 0 else None, end)
    return repo.watermarks(), repo.stored()


@pytest.mark.parametrize("store", ["redis", "sqlite", "postgres"])
@pytest.mark.parametrize("steps", [(by_terrarium, by_feast_cli, by_terrarium), (by_feast, by_terrarium, by_feast), (by_terrarium,) * 3], ids=lambda s: "-".join(step.__name__ for step in s))
def test_each_goes_on_where_the_other_stopped(tmp_path, store, steps):
    alone = in_turns(PitRepo(tmp_path / "alone", store), by_feast, by_feast, by_feast)
    together = in_turns(PitRepo(tmp_path / "together", store), *steps)
    assert together[0] == alone[0], "watermarks"
    assert together[1] == alone[1], "stored rows"
    assert all(len(intervals) == len(ENDS) for _, intervals in together[0].values())


@pytest.mark.parametrize("store", ["redis", "sqlite", "postgres"])
def test_what_feast_materialized_is_no_skew(tmp_path, store):
    """Feast cuts event timestamps to whole seconds in Redis and SQLite, and not in Postgres."""
    repo = PitRepo(tmp_path, store)
    in_turns(repo, by_feast, by_feast, by_feast)
    done = run(repo.directory, "features", "verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [view["view"] for view in report["views"]] == VIEWS
    assert all(feature["compared"] > 0 for view in report["views"] for feature in view["features"]), report


def test_the_first_incremental_run_starts_where_feast_starts(tmp_path):
    """Without a watermark: now less the view's ttl, or less a year where it has none."""
    starts = {}
    for step in (by_feast, by_terrarium):
        repo = PitRepo(tmp_path / step.__name__, "sqlite")
        step(repo, None, datetime.now(UTC).replace(microsecond=0))
        starts[step] = {view: datetime.fromisoformat(intervals[0][0]) for view, (_, intervals) in repo.watermarks().items()}
    assert starts[by_feast].keys() == starts[by_terrarium].keys()
    for view, start in starts[by_feast].items():
        assert abs(starts[by_terrarium][view] - start) < timedelta(minutes=2), view


def test_nothing_but_the_watermark_changes_in_the_registry(tmp_path):
    repo = PitRepo(tmp_path, "sqlite")
    before = repo.registry()
    by_terrarium(repo, START, ENDS[0])
    assert without_watermarks(repo.registry()) == without_watermarks(before)


def test_concurrent_runs_leave_a_whole_registry(tmp_path):
    """Many processes at once, several of them on the same view: Feast reads every object and every interval afterwards."""
    repo = PitRepo(tmp_path, "sqlite")
    before = repo.registry()
    runs = [(view, ENDS[0] + timedelta(minutes=minute)) for view in VIEWS for minute in (1, 2, 3)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda chosen: by_terrarium(repo, START, chosen[1], [chosen[0]]), runs))
    assert without_watermarks(repo.registry()) == without_watermarks(before)
    ends = {view: sorted(end for _, end in intervals) for view, (_, intervals) in repo.watermarks().items()}
    assert ends == {view: [f"2024-05-01T09:0{minute}:00Z" for minute in (1, 2, 3)] for view in VIEWS}
    store = repo.feast()
    assert sorted(view.name for view in store.list_feature_views()) == VIEWS
    assert [service.name for service in store.list_feature_services()] == ["svc"]
    by_feast(repo, None, ENDS[2])  # and writes it


def without_watermarks(registry):
    """What no run may change; materialized views move to the end, so their order does not count."""
    plain = Registry()
    plain.CopyFrom(registry)
    plain.ClearField("version_id")
    plain.ClearField("last_updated")
    views = sorted(plain.feature_views, key=lambda view: view.spec.name)
    plain.ClearField("feature_views")
    for view in views:
        for field in ("materialization_intervals", "state", "last_updated_timestamp"):
            view.meta.ClearField(field)
    plain.feature_views.extend(views)
    return plain
