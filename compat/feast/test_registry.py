"""Watermarks go back and forth: the real Feast reads the registry that Terrarium has written into, and goes on from there."""

import shutil
import sqlite3
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.feature_view import FeatureViewState
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.types import Float64, Int64
from repository import write
from server_process import ServerProcess, free_port
from terrarium_process import run

START = datetime(2024, 3, 1, tzinfo=UTC)
NOON, END, LATER = START + timedelta(hours=12), START + timedelta(days=1), START + timedelta(days=2)
VIEWS = ["rates", "trips", "cities"]
FEAST = Path(sys.executable).parent / "feast"


def objects():
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    made = [driver]
    for name in VIEWS:
        source = FileSource(name=f"{name}_source", path=f"data/{name}.parquet", timestamp_field="event_timestamp", created_timestamp_column="created")
        schema = [Field(name="driver_id", dtype=Int64), Field(name="value", dtype=Float64)]
        made.append(FeatureView(name=name, entities=[driver], schema=schema, source=source, ttl=timedelta(days=4000)))
    made.append(FeatureService(name="all", features=made[1:]))
    return made


class RegistryServer(ServerProcess):
    """The real `feast serve_registry` over a repository of its own."""

    name = "feast-registry"

    def __init__(self, repo):
        self.grpc_port = free_port()
        super().__init__(repo, [FEAST, "serve_registry", "--port", str(self.grpc_port)], {"FEAST_USAGE": "False"})

    def ask_ready(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=0.5)
            except grpc.FutureTimeoutError:
                return "the channel is not ready"
        return None


class Repo:
    """A repository with this kind of registry, applied by Feast; `settings` is what reads and writes it."""

    def __init__(self, directory, kind, running):
        self.directory, self.repo = directory, directory / "feature_repo"
        (self.repo / "data").mkdir(parents=True)
        for i, name in enumerate(VIEWS):
            columns = {"driver_id": pa.array([1, 2, 3]), "value": pa.array([i + 0.5, i + 1.5, i + 2.5])}
            write(self.repo / "data" / name, columns, NOON)
        applied = {"sql": f"{{registry_type: sql, path: 'sqlite:///{self.repo}/sql.db'}}"}.get(kind, "registry.db")
        self.settings(applied)
        FeatureStore(repo_path=str(self.repo)).apply(objects())
        self.backing = applied
        if kind == "remote":
            server_repo = directory / "server"
            shutil.copytree(self.repo, server_repo)
            server = running.enter_context(RegistryServer(server_repo))
            self.settings(f"{{registry_type: remote, path: '127.0.0.1:{server.grpc_port}'}}")

    def settings(self, registry):
        (self.repo / "feature_store.yaml").write_text(
            f"project: marks\nprovider: local\nregistry: {registry}\nonline_store: {{type: sqlite, path: data/online.db}}\n"
            "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
        )

    def feast(self):
        """Opened anew, so that nothing comes from a cache."""
        return FeatureStore(repo_path=str(self.repo))

    def terrarium(self, *arguments):
        done = run(self.directory, "features", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def intervals(self, view):
        return self.feast().get_feature_view(view).materialization_intervals


@pytest.fixture(params=["file", "sql", "remote"])
def repo(request, tmp_path):
    with ExitStack() as running:
        yield Repo(tmp_path, request.param, running)


def test_feast_reads_our_watermark_and_goes_on_from_it(repo):
    repo.terrarium("materialize", START.isoformat(), END.isoformat())
    store = repo.feast()
    for name in VIEWS:
        view = store.get_feature_view(name)
        assert view.materialization_intervals == [(START, END)]
        assert view.state == FeatureViewState.AVAILABLE_ONLINE
        assert view.most_recent_end_time == END
    assert {service.name for service in store.list_feature_services()} == {"all"}
    store.materialize_incremental(LATER, ["rates"])
    assert repo.intervals("rates") == [(START, END), (END, LATER)]
    assert repo.intervals("trips") == [(START, END)]


def test_we_go_on_from_feasts_watermark(repo):
    repo.feast().materialize(START, END, ["rates"])
    repo.terrarium("materialize-incremental", LATER.isoformat(), "--views", "rates")
    assert repo.intervals("rates") == [(START, END), (END, LATER)]
    assert repo.intervals("trips") == []


def test_the_registry_of_a_project_is_read_as_feast_applied_it(repo):
    repo.feast().materialize(START, END)
    answer = run(repo.directory, "features", "get", "--service", "all", "--entity", "driver_id=1,3", "--json")
    assert answer.returncode == 0, answer.stderr
    for value in ["0.5", "2.5", "1.5", "3.5", "4.5"]:
        assert value in answer.stdout


def test_a_registry_that_we_wrote_into_is_the_one_that_feast_would_have_written(tmp_path):
    """The same materialization twice; afterwards the two messages differ in ids and in the times of writing only."""
    by_feast, by_us = (Repo(tmp_path / name, "file", None) for name in ("feast", "terrarium"))
    original = (by_feast.repo / "registry.db").read_bytes()
    (by_us.repo / "registry.db").write_bytes(original)
    # Feast goes through the views in the order in which they are named, or else in the registry's.
    for name in VIEWS:
        by_feast.feast().materialize(START, END, [name])
        by_us.terrarium("materialize", START.isoformat(), END.isoformat(), "--views", name)
    registries = [Registry.FromString((repo.repo / "registry.db").read_bytes()) for repo in (by_feast, by_us)]
    for registry in registries:
        assert registry.version_id and registry.HasField("last_updated")
        registry.ClearField("version_id")
        registry.ClearField("last_updated")
        for view in registry.feature_views:
            assert view.meta.last_updated_timestamp.seconds > view.meta.created_timestamp.seconds - 1
            view.meta.ClearField("last_updated_timestamp")
    assert registries[0] == registries[1]


def test_an_sql_registry_tells_when_it_was_changed(tmp_path):
    repo = Repo(tmp_path, "sql", None)

    def updated():
        with sqlite3.connect(repo.repo / "sql.db") as database:
            query = "SELECT metadata_value, last_updated_timestamp FROM feast_metadata WHERE metadata_key = 'last_updated_timestamp'"
            [(text, number)] = database.execute(query).fetchall()
            database.execute("UPDATE feast_metadata SET metadata_value = '1', last_updated_timestamp = 1")
        assert text == str(number)
        return number

    updated()
    repo.terrarium("materialize", START.isoformat(), END.isoformat(), "--views", "rates")
    assert updated() > 1_700_000_000
