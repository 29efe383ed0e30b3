"""`terrarium audit query --from topic` and its HTTP route: what SQL says of a topic is what an independent consumer finds on it."""

import json
import os
import uuid
from collections import Counter

import pytest
from demo_process import calls, demo_copy, serve
from kafka_process import consume, events
from terrarium_process import run


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


def ask(demo, topic, sql, *arguments):
    environment = {"TERRARIUM__AUDIT__KAFKA__BROKERS": os.environ["TERRARIUM_KAFKA"], "TERRARIUM__AUDIT__KAFKA__TOPIC": topic}
    done = run(demo, "--json", "audit", "query", sql, "--from", "topic", *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def produced(demo, **settings):
    topic = f"query-{uuid.uuid4().hex}"
    with serve(demo, os.environ["TERRARIUM_KAFKA"], topic, **settings) as terrarium:
        for model, body in calls() * 3:
            terrarium.predict(model, body)
    return topic, consume(os.environ["TERRARIUM_KAFKA"], topic)


def test_sql_over_a_topic_agrees_with_its_messages(demo):
    topic, messages = produced(demo)
    counted = Counter((event["model"]["name"], event["status"]) for event in events(messages))
    found = ask(demo, topic, "SELECT model, status, count(*) AS n FROM predictions GROUP BY 1, 2")
    assert {(row["model"], row["status"]): row["n"] for row in found} == counted
    values = sorted(
        (event["id"], row, value)
        for event in events(messages) if event["features"]
        for row, value in enumerate(event["features"]["driver_hourly_stats:conv_rate"]["values"]) if value is not None
    )  # fmt: skip
    found = ask(demo, topic, "SELECT id, row, number FROM features WHERE feature LIKE '%:conv_rate' AND number IS NOT NULL ORDER BY id, row")
    assert [(row["id"], row["row"], row["number"]) for row in found] == values


def test_only_messages_between_offsets_and_times_are_read(demo):
    topic, messages = produced(demo)
    # Half of the keys are random, so the other partition may have hardly any.
    partition, n_messages = Counter(message["partition"] for message in messages).most_common(1)[0]
    assert n_messages >= len(messages) / 2
    sql = "SELECT id FROM predictions ORDER BY id"
    found = ask(demo, topic, sql, "--partition", partition, "--first-offset", 2, "--end-offset", 5)
    expected = [m["headers"]["ce_id"] for m in messages if m["partition"] == partition and 2 <= m["offset"] < 5]
    assert len(expected) == 3 and [row["id"] for row in found] == sorted(expected)
    times = sorted(message["headers"]["ce_time"] for message in messages)
    since, until = times[4], times[9]
    found = ask(demo, topic, sql, "--since", since, "--until", until)
    expected = [m["headers"]["ce_id"] for m in messages if since <= m["headers"]["ce_time"] < until]
    assert len(expected) == 5 and [row["id"] for row in found] == sorted(expected)
    assert ask(demo, topic, sql, "--first-offset", 1000) == []


@pytest.mark.parametrize("settings", [
    {"format": "connect_json"},
    {"format": "avro", "schema_registry__url": os.environ.get("TERRARIUM_SCHEMA_REGISTRY")},
    {"format": "json_schema", "schema_registry__url": os.environ.get("TERRARIUM_SCHEMA_REGISTRY")},
], ids=lambda settings: settings["format"])  # fmt: skip
def test_every_format_gives_the_same_rows(demo, settings):
    topic, messages = produced(demo, **settings)
    sql = "SELECT id, sequence, model_version, status, error_code, n_rows, entity_key, latency_us, outputs FROM predictions ORDER BY sequence"
    found = ask(demo, topic, sql)
    ids = {(message["headers"]["ce_id"], int(message["headers"]["ce_sequence"])) for message in messages}
    assert {(row["id"], row["sequence"]) for row in found} == ids
    assert all(row["latency_us"] > 0 and row["n_rows"] >= 1 for row in found)
    assert {row["error_code"] for row in found if row["status"] == "error"} == {"value_type_wrong", "model_not_found"}
    assert all(json.loads(row["outputs"])["score"] for row in found if row["status"] == "ok")


def test_the_route_asks_the_topic_too(demo):
    topic = f"query-{uuid.uuid4().hex}"
    with serve(demo, os.environ["TERRARIUM_KAFKA"], topic) as terrarium:
        for model, body in calls():
            terrarium.predict(model, body)
        question = {"sql": "SELECT count(*) AS n FROM predictions", "from": "topic"}
        for _ in range(200):
            answer = terrarium.post("/v1/audit/query", question)
            if answer.ok and answer.json()["n"] == len(calls()):
                return
    raise AssertionError(answer.text)
