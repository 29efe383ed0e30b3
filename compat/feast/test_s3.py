"""A repository whose registry and sources are in S3 (a real S3 protocol server), shared with the real Feast.

The server is at TERRARIUM_S3; each test has a bucket of its own.
"""

import os
import time
import uuid
from datetime import UTC, timedelta

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from answers import columns, differences, http_answer, sdk_answer
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.types import Float64, Int64
from repository import END, NOON, START
from server_process import ServerProcess, free_port
from terrarium_process import Terrarium, binary, onnx_runtime, run

QUESTION = ["stats:rate", "stats:trips"], {"driver_id": [1, 2, 3]}
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Repo:
    """`feature_repo` with nothing in it but its settings and the online store."""

    def __init__(self, directory):
        self.directory, self.repo = directory, directory / "feature_repo"
        self.bucket = f"bucket-{uuid.uuid4().hex}"
        self.s3 = boto3.client("s3")
        self.s3.create_bucket(Bucket=self.bucket)
        self.write_source()
        self.repo.mkdir()
        (self.repo / "feature_store.yaml").write_text(
            "project: far\nprovider: local\nonline_store: {type: sqlite, path: online.db}\noffline_store: {type: file}\n"
            f"registry: {{path: 's3://{self.bucket}/feast/registry.db', cache_ttl_seconds: 1}}\nentity_key_serialization_version: 3\n"
        )
        self.feast().apply(self.objects())

    def objects(self):
        source = FileSource(
            path=f"s3://{self.bucket}/data/stats.parquet",
            timestamp_field="event_timestamp",
            s3_endpoint_override=os.environ["TERRARIUM_S3"],
        )
        driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        fields = [Field(name="driver_id", dtype=Int64), Field(name="rate", dtype=Float64), Field(name="trips", dtype=Int64)]
        return [driver, FeatureView(name="stats", entities=[driver], schema=fields, source=source, ttl=timedelta(days=1))]

    def write_source(self):
        file = self.directory / "stats.parquet"
        times = pa.array([NOON, NOON, NOON + timedelta(hours=1)], pa.timestamp("us", tz="UTC"))
        columns = {"driver_id": [1, 2, 2], "rate": [0.5, 0.25, 1 / 3], "trips": [7, 8, 9]}
        pq.write_table(pa.table(columns | {"event_timestamp": times}), file)
        self.s3.upload_file(str(file), self.bucket, "data/stats.parquet")

    def feast(self):
        return FeatureStore(repo_path=str(self.repo))

    def view(self):
        body = self.s3.get_object(Bucket=self.bucket, Key="feast/registry.db")["Body"].read()
        (view,) = Registry.FromString(body).feature_views
        return view

    def serve(self):
        (self.directory / "models").mkdir()
        return Terrarium(self.directory, {})


@pytest.fixture
def repo(tmp_path, monkeypatch):
    endpoint = os.environ.get("TERRARIUM_S3")
    assert endpoint, "TERRARIUM_S3 is not set: run `dev/services up`"
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint, "FEAST_S3_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)
    return S3Repo(tmp_path)


def materialize(repo):
    """By Terrarium: Feast would need s3fs to read the source."""
    done = run(repo.directory, "features", "materialize", START.isoformat(), END.isoformat())
    assert done.returncode == 0, done.stdout + done.stderr


def test_materializing_reads_a_source_and_records_into_a_registry_in_s3(repo):
    materialize(repo)
    (interval,) = repo.view().meta.materialization_intervals
    assert (interval.start_time.ToDatetime(UTC), interval.end_time.ToDatetime(UTC)) == (START, END)
    read = columns(sdk_answer(repo.feast(), *QUESTION))
    assert read["rate"]["values"] == [0.5, 1 / 3, None]
    assert read["trips"]["values"] == [7, 9, None]


def test_what_feast_applies_to_a_registry_in_s3_is_served_without_a_restart(repo):
    materialize(repo)
    by_name = {"features": QUESTION[0], "entities": QUESTION[1]}
    by_service = {"feature_service": "later", "entities": QUESTION[1]}
    with repo.serve() as server:
        expected = sdk_answer(repo.feast(), *QUESTION)
        assert not differences(http_answer(server, by_name), expected)
        assert server.post("/get-online-features", by_service).status_code != 200
        *_, stats = objects = repo.objects()
        repo.feast().apply([*objects, FeatureService(name="later", features=[stats])])
        deadline = time.monotonic() + 20
        while server.post("/get-online-features", by_service).status_code != 200:
            assert time.monotonic() < deadline, server.log_tail()
            time.sleep(0.1)
        assert not differences(http_answer(server, by_service), expected)


class Clustered(ServerProcess):
    """A scheduler or an executor."""

    def __init__(self, directory, name, says, *arguments):
        self.name, self.says = name, says
        super().__init__(directory, [binary(), name, *arguments], onnx_runtime())

    def ask_ready(self):
        return None if self.says in self.log.read_text(errors="replace") else f"`{self.says}` is not said yet"


def test_executors_read_a_source_from_the_server_that_it_names(repo, monkeypatch):
    # Nothing else says where the bucket is.
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    times = pa.array([NOON, NOON + timedelta(hours=2), NOON - timedelta(hours=1)], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"driver_id": [1, 2, 2], "event_timestamp": times}), repo.directory / "asked.parquet")
    address = f"127.0.0.1:{free_port()}"
    scheduler = Clustered(repo.directory, "scheduler", "scheduler at", "--bind", address)
    listens = "--bind", f"127.0.0.1:{free_port()}", "--task-port", str(free_port()), "--vcores", "1"
    executor = Clustered(repo.directory, "executor", "Executor registration succeed", "--scheduler", f"df://{address}", *listens)
    settings = "--set", f"offline.cluster.scheduler=df://{address}", "--set", "offline.cluster.staging=staging"
    question = "features", "historical", "--entities", "asked.parquet", "--features", "stats:rate,stats:trips"
    with scheduler, executor:
        done = run(repo.directory, *question, "--out", "found.parquet", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Finished task" in executor.log.read_text()
    found = pq.read_table(repo.directory / "found.parquet").to_pydict()
    assert (found["rate"], found["trips"]) == ([0.5, 1 / 3, None], [7, 9, None])
