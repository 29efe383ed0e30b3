"""Kafka Connect with the sinks of `deploy/connect/`: what was predicted arrives as rows in Postgres and as documents in
MongoDB, field by field, nested features included.

TERRARIUM_KAFKA_CONNECT, TERRARIUM_KAFKA, TERRARIUM_MONGODB, TERRARIUM_POSTGRES  as `dev/services up` gives them
"""

import json
import os
import time
import uuid
from datetime import datetime
from urllib.parse import urlsplit

import psycopg
import pymongo
import pytest
import requests
from demo_process import calls, demo_copy, serve
from kafka_process import CHECKOUT, assert_complete, consume, events
from terrarium_process import run

WITHIN_S = 60
HTTP = requests.Session()
HTTP.trust_env = False

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


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def schema():
    """A schema of the suite's own in Postgres, with the table and the views of `deploy/connect/postgres.sql`."""
    name = f"terrarium_compat_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(os.environ["TERRARIUM_POSTGRES"], autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"SET search_path TO {name}")
        connection.execute((CHECKOUT / "deploy/connect/postgres.sql").read_text())
        try:
            yield name, connection
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


class Connector:
    """A connector of `deploy/connect/NAME.json` with other places; removed at the end."""

    def __init__(self, name, **changes):
        self.url = os.environ["TERRARIUM_KAFKA_CONNECT"]
        self.definition = json.loads((CHECKOUT / f"deploy/connect/{name}.json").read_text())
        self.definition["name"] += f"-{uuid.uuid4().hex[:8]}"
        for key, value in changes.items():
            key = key.replace("_", ".")
            assert key in self.definition["config"], key
            self.definition["config"][key] = value

    def __enter__(self):
        made = HTTP.post(f"{self.url}/connectors", json=self.definition, timeout=60)
        assert made.status_code == 201, made.text
        return self

    def __exit__(self, *_):
        HTTP.delete(f"{self.url}/connectors/{self.definition['name']}", timeout=60)

    def wait(self, is_done):
        """Until `is_done` gives something; tells why the connector failed if it did."""
        deadline = time.monotonic() + WITHIN_S
        while not (result := is_done()):
            status = HTTP.get(f"{self.url}/connectors/{self.definition['name']}/status", timeout=30).json()
            failed = [task["trace"] for task in status.get("tasks", []) if task["state"] == "FAILED"]
            assert not failed, failed[0][:3000]
            assert time.monotonic() < deadline, f"not done within {WITHIN_S} s: {status}"
            time.sleep(0.2)
        return result


def predict(directory, topic, **settings):
    """Makes the calls; gives the ids that were answered."""
    with serve(directory, os.environ["TERRARIUM_KAFKA"], topic, **settings) as terrarium:
        answers = [terrarium.predict(model, body) for model, body in calls()]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 404], [answer.text for answer in answers]
    return {answer.json()["id"] for answer in answers if answer.ok}


def at(event, column):
    """What a column shows of an event."""
    for part in PATHS.get(column, (column,)):
        event = event.get(part) if event is not None else None
    return event


def test_rows_in_postgres_equal_the_events(demo, schema):
    name, connection = schema
    topic = f"connect-{uuid.uuid4().hex}"
    answered = predict(demo, topic, format="connect_json")
    messages = consume(os.environ["TERRARIUM_KAFKA"], topic)
    assert_complete(messages)
    place = urlsplit(os.environ["TERRARIUM_POSTGRES"])
    postgres = Connector(
        "postgres",
        topics=topic,
        connection_url=f"jdbc:postgresql://{place.hostname}:{place.port}{place.path}?currentSchema={name}&stringtype=unspecified",
        connection_username=place.username,
        connection_password=place.password,
    )
    with postgres:
        def rows():
            cursor = connection.execute("SELECT * FROM audit_events")
            names = [column.name for column in cursor.description]
            found = {str(row[names.index("id")]): dict(zip(names, row)) for row in cursor}
            return found if len(found) >= len(messages) else None

        rows = postgres.wait(rows)
    assert answered < set(rows)
    # From the files of another server the same events would come; here the topic's own rows are the expectation.
    for message in messages:
        payload = json.loads(message["value"])["payload"]
        row = rows[payload["id"]]
        assert set(row) == set(payload)
        for column, value in payload.items():
            shown = row[column]
            if isinstance(shown, uuid.UUID):
                shown = str(shown)
            if isinstance(shown, datetime):
                assert shown == datetime.fromisoformat(value), column
                continue
            if value is not None and isinstance(shown, (dict, list)):
                value = json.loads(value)
            assert shown == value, column


def test_views_show_each_row_and_each_feature(schema):
    """Runs on what the test before left."""
    _, connection = schema
    one = connection.execute(
        "SELECT row, entities, inputs, outputs, status FROM audit_predictions WHERE entities @> '{\"driver_id\": 1002}'"
    ).fetchall()
    assert len(one) == 1
    row, entities, inputs, outputs, status = one[0]
    assert (row, entities, inputs, status) == (1, {"driver_id": 1002}, {"trip_km": 7.5}, "ok")
    assert set(outputs) and all(isinstance(value, float) for value in outputs.values())
    statuses = connection.execute("SELECT status, count(*) FROM audit_predictions GROUP BY status ORDER BY status").fetchall()
    assert dict(statuses) == {"ok": 6, "error": 2}
    features = connection.execute(
        "SELECT f.feature, f.number, f.status, f.event_timestamp, e.features -> f.feature -> 'values' ->> f.row::integer"
        " FROM audit_features f JOIN audit_events e USING (id) WHERE f.number IS NOT NULL"
    ).fetchall()
    assert features
    for feature, number, status, timestamp, value in features:
        assert ":" in feature and status in ("present", "outside_max_age")  # the demo's data grows old
        assert number == float(value) and timestamp is not None
    unknown = connection.execute(
        "SELECT DISTINCT f.status, f.value FROM audit_features f JOIN audit_predictions p USING (id, row) WHERE p.entities @> '{\"driver_id\": 4242}'"
    ).fetchall()
    assert unknown == [("not_found", None)]


def test_verify_finds_a_row_that_is_missing(demo, schema):
    """Runs on what the tests before left."""
    name, connection = schema
    place = {"TERRARIUM__AUDIT__POSTGRES__URL": os.environ["TERRARIUM_POSTGRES"], "TERRARIUM__AUDIT__POSTGRES__TABLE": f"{name}.audit_events"}

    def verify():
        done = run(demo, "--json", "audit", "verify", "--from", "postgres", environment=place)
        return done.returncode, json.loads(done.stdout)

    last = connection.execute("SELECT max(sequence) FROM audit_events").fetchone()[0]
    code, report = verify()
    (writer,) = report["writers"]
    assert (code, writer["first"], writer["last"], writer["gaps"], writer["n_duplicates"]) == (0, 1, last, [], 0)
    connection.execute("DELETE FROM audit_events WHERE sequence = 2")
    code, report = verify()
    assert (code, report["writers"][0]["gaps"]) == (1, [{"first": 2, "last": 2}])


def test_documents_in_mongodb_equal_the_events(demo):
    topic = f"connect-{uuid.uuid4().hex}"
    answered = predict(demo, topic)
    messages = consume(os.environ["TERRARIUM_KAFKA"], topic)
    assert_complete(messages)
    uri, database = os.environ["TERRARIUM_MONGODB"], f"terrarium_compat_{uuid.uuid4().hex[:8]}"
    with pymongo.MongoClient(uri) as client, Connector("mongodb", topics=topic, connection_uri=uri, database=database) as mongodb:
        collection = client[database]["audit_events"]
        mongodb.wait(lambda: collection.count_documents({}) >= len(messages))
        documents = {document["_id"]: document for document in collection.find()}
        found = collection.find_one({"features.driver_hourly_stats:conv_rate.values": {"$gt": 0}, "n_rows": 1})
        client.drop_database(database)
    assert answered < set(documents)
    for event in events(messages):
        document = documents[event["id"]]
        document["id"] = document.pop("_id")
        assert document == event
    assert found["features"]["driver_hourly_stats:conv_rate"]["values"][0] > 0
