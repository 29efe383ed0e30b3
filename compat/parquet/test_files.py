"""Audit events in Parquet files: pandas, pyarrow and DuckDB read what was recorded, and a killed server loses none of it."""

import json
import random
import threading
from datetime import timezone

import duckdb
import pandas
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import requests
from demo_process import calls, demo_copy
from terrarium_process import Terrarium, onnx_runtime, run

ROUNDS = 3
BODY = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}
BY_MODEL = "SELECT model, status, count(*) AS n, sum(latency_us) AS latency FROM {} GROUP BY 1, 2 ORDER BY 1, 2"

# Columns that stand under another name in the event.
PATHS = {
    "model": ("model", "name"),
    "model_version": ("model", "version"),
    "model_alias": ("model", "alias"),
    "model_requested": ("model", "requested"),
    "error_class": ("error", "class"),
    "error_code": ("error", "code"),
    "error_message": ("error", "message"),
    "features_us": ("timings_us", "features"),
    "assemble_us": ("timings_us", "assemble"),
    "queue_us": ("timings_us", "queue"),
    "engine_us": ("timings_us", "engine"),
    "latency_us": ("timings_us", "total"),
}
JSON = {"entities", "inputs", "rows", "params", "features", "outputs", "variants", "difference"}


def serve(directory, max_file_age="5m"):
    return Terrarium(directory, {"TERRARIUM__AUDIT__FILE__FORMAT": "parquet", "TERRARIUM__AUDIT__FILE__MAX_FILE_AGE": max_file_age})


def verify(directory):
    done = run(directory, "--json", "audit", "verify", "--from", "files")
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def recorded(demo):
    """The events of some calls by their ids, as the server told them before they were in any file."""
    with serve(demo) as terrarium:
        answers = [terrarium.predict(model, body) for model, body in calls()]
        events = {}
        for answer in answers:
            if answer.ok:
                event = terrarium.get(f"/v1/predictions/{answer.json()['id']}").json()
                events[event["id"]] = event
        assert not list((demo / "audit").rglob("*.parquet"))
    return events


def at(event, column):
    for part in PATHS.get(column, (column,)):
        event = event.get(part) if event is not None else None
    return event


def test_pandas_reads_the_events_column_by_column(demo, recorded):
    frame = pandas.read_parquet(demo / "audit")
    assert set(frame["hour"].astype(int)) <= set(range(24)) and frame["date"].notna().all()
    rows = {row["id"]: row for row in frame.astype(object).where(frame.notna(), None).to_dict("records")}
    assert len(rows) == len(calls()) and recorded.keys() < rows.keys()
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    for event in recorded.values():
        row = rows[event["id"]]
        for column in frame.columns.difference(["entity_key", "date", "hour"]):
            expected, found = at(event, column), row[column]
            if column in JSON:
                found = None if found is None else json.loads(found)
            elif column == "time":
                found, expected = found.to_pydatetime(), pandas.Timestamp(expected).to_pydatetime()
                assert found.tzinfo.utcoffset(found) == timezone.utc.utcoffset(None)
            assert found == expected, column


def test_files_are_whole_compressed_and_of_their_hour(demo, recorded):
    files = sorted((demo / "audit").rglob("*.parquet"))
    assert files
    for path in files:
        metadata = pyarrow.parquet.ParquetFile(path).metadata
        assert metadata.row_group(0).column(0).compression == "ZSTD"
        hour = path.parent.parent.name.removeprefix("date=") + " " + path.parent.name.removeprefix("hour=")
        times = pyarrow.parquet.read_table(path, columns=["time"], partitioning=None)["time"].to_pylist()
        assert {time.strftime("%Y-%m-%d %H") for time in times} == {hour}
    assert not list((demo / "audit" / "_unfinished").iterdir())


def test_duckdb_agrees_with_audit_query(demo, recorded):
    theirs = duckdb.sql(BY_MODEL.format(f"read_parquet('{demo}/audit/*/*/*.parquet', hive_partitioning = true)")).fetchall()
    done = run(demo, "--json", "audit", "query", BY_MODEL.format("predictions"))
    ours = [tuple(json.loads(line).values()) for line in done.stdout.splitlines()]
    key = lambda row: [str(value) for value in row]  # noqa: E731 - nulls sort differently
    assert sorted(theirs, key=key) == sorted(ours, key=key)
    assert sum(row[2] for row in ours) == len(calls())


def test_arrow_streams_are_read_by_pyarrow(demo, recorded):
    with serve(demo) as terrarium:
        answer = terrarium.session.post(
            f"http://{terrarium.address}/v1/audit/query",
            json={"sql": "SELECT id, row, feature, number, status, event_timestamp FROM features ORDER BY id, feature, row"},
            headers={"accept": "application/vnd.apache.arrow.stream"},
            timeout=30,
        )
    assert answer.ok, answer.text
    found = pyarrow.ipc.open_stream(answer.content).read_all().to_pylist()
    expected = [
        (event["id"], row, feature, value, column["statuses"][row])
        for event in sorted(recorded.values(), key=lambda event: event["id"])
        for feature, column in sorted(event["features"].items())
        for row, value in enumerate(column["values"])
    ]
    assert [(r["id"], r["row"], r["feature"], r["number"], r["status"]) for r in found] == expected


def test_a_killed_server_loses_nothing_and_repeats_nothing(tmp_path):
    directory, answered, chance = demo_copy(tmp_path), set(), random.Random(7)
    for _ in range(ROUNDS):
        with serve(directory, "50ms") as terrarium:
            target = len(answered) + 200 + chance.randrange(200)
            enough = threading.Event()

            def load():
                session = requests.Session()
                session.trust_env = False
                while True:
                    try:
                        answer = session.post(f"http://{terrarium.address}/v1/models/driver_ranking/predict", json=BODY, timeout=10)
                    except requests.RequestException:
                        return  # the server was killed
                    assert answer.ok, answer.text
                    answered.add(answer.json()["id"])
                    if len(answered) >= target:
                        enough.set()

            threads = [threading.Thread(target=load) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert enough.wait(60)
            terrarium.process.kill()
            for thread in threads:
                thread.join()
    with serve(directory):  # ships what is left when it stops
        pass
    code, report = verify(directory)
    assert code == 0, report
    assert [writer["n_duplicates"] for writer in report["writers"]] == [0] * ROUNDS
    assert all(writer["first"] == 1 for writer in report["writers"])
    ids = duckdb.sql(f"SELECT id FROM read_parquet('{directory}/audit/*/*/*.parquet')").fetchall()
    assert answered <= {row[0] for row in ids}
    assert not list((directory / "audit" / "_unfinished").iterdir())


def test_a_file_that_is_gone_is_a_gap(tmp_path):
    directory = demo_copy(tmp_path)
    with serve(directory, "0s") as terrarium:
        for _ in range(5):
            assert terrarium.predict("driver_ranking", BODY).ok
    files = sorted((directory / "audit").rglob("*.parquet"))
    if len(files) < 3:
        pytest.skip("the events came at once")
    files[1].unlink()
    code, report = verify(directory)
    assert code == 1 and report["writers"][0]["gaps"], report
