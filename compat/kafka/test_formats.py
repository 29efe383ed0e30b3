"""Every format as others read it: JSON, Kafka Connect's JSON, and Confluent's framing with the schema that the registry has."""

import io
import json
import os
import struct
import uuid
from datetime import datetime

import fastavro
import jsonschema
import pytest
import requests
from demo_process import calls, demo_copy, serve
from kafka_process import assert_complete, consume
from terrarium_process import run

HTTP = requests.Session()
HTTP.trust_env = False


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


def produced(demo, topic, **settings):
    with serve(demo, os.environ["TERRARIUM_KAFKA"], topic, **settings) as terrarium:
        answers = [terrarium.predict(model, body) for model, body in calls()]
    messages = consume(os.environ["TERRARIUM_KAFKA"], topic)
    assert len(messages) == len(answers)
    assert_complete(messages)
    return answers, messages


def registry(**settings):
    return {"schema_registry__url": os.environ["TERRARIUM_SCHEMA_REGISTRY"], **settings}


def body_and_schema(message):
    """What stands behind Confluent's framing, and the schema that the registry has under the id in it."""
    magic, schema_id = struct.unpack(">bI", message["value"][:5])
    assert magic == 0
    url = message["headers"]["ce_dataschema"]
    assert url == f"{os.environ['TERRARIUM_SCHEMA_REGISTRY']}/schemas/ids/{schema_id}"
    return message["value"][5:], json.loads(HTTP.get(url, timeout=30).json()["schema"])


def test_json_messages_have_key_time_and_cloudevents_headers(demo):
    answers, messages = produced(demo, f"formats-{uuid.uuid4().hex}")
    by_id = {message["headers"]["ce_id"]: message for message in messages}
    for answer in answers[:3]:
        message = by_id[answer.json()["id"]]
        event, headers = json.loads(message["value"]), message["headers"]
        assert event["id"] == headers["ce_id"]
        assert event["outputs"] == answer.json()["outputs"]
        one = event["n_rows"] == 1 and event["entities"]
        assert message["key"] == ("driver_id=1001" if one else event["id"])
        assert message["timestamp"] == int(datetime.fromisoformat(event["time"]).timestamp() * 1000)
        model = answer.json()["model"]
        expected = {
            "ce_specversion": "1.0", "ce_source": "/terrarium", "ce_type": "terrarium.prediction.v1", "ce_time": event["time"],
            "ce_subject": f"{model['name']}:{model['version']}", "ce_writer": event["writer"],
            "ce_sequence": str(event["sequence"]), "content-type": "application/json",
        }  # fmt: skip
        assert {name: headers[name] for name in expected} == expected


def test_avro_messages_are_read_with_the_schema_of_the_registry(demo):
    _, messages = produced(demo, f"formats-{uuid.uuid4().hex}", **registry(format="avro"))
    for message in messages:
        body, schema = body_and_schema(message)
        stream = io.BytesIO(body)
        row = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema))
        assert not stream.read()
        headers = message["headers"]
        assert (str(row["id"]), row["sequence"]) == (headers["ce_id"], int(headers["ce_sequence"]))
        assert row["time"] == datetime.fromisoformat(headers["ce_time"])
        assert row["status"] in ("ok", "error")
        if row["features"]:
            assert json.loads(row["features"])["driver_hourly_stats:conv_rate"]["statuses"]
            assert row["model"]["name"] == "driver_ranking"


def test_json_schema_messages_are_valid_under_the_schema_of_the_registry(demo):
    _, messages = produced(demo, f"formats-{uuid.uuid4().hex}", **registry(format="json_schema"))
    for message in messages:
        body, schema = body_and_schema(message)
        event = json.loads(body)
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate(event)
        assert event["id"] == message["headers"]["ce_id"]


@pytest.mark.parametrize("format", ["json", "avro"])
def test_tail_prints_and_verify_counts_what_is_on_the_topic(demo, format):
    topic = f"formats-{uuid.uuid4().hex}"
    _, messages = produced(demo, topic, **registry(format=format))
    environment = {"TERRARIUM__AUDIT__KAFKA__BROKERS": os.environ["TERRARIUM_KAFKA"], "TERRARIUM__AUDIT__KAFKA__TOPIC": topic}
    tail = run(demo, "audit", "tail", "--from", "topic", "--all", "--no-follow", environment=environment)
    assert tail.returncode == 0, tail.stderr
    printed = {json.loads(line)["id"]: json.loads(line) for line in tail.stdout.splitlines()}
    assert set(printed) == {message["headers"]["ce_id"] for message in messages}
    if format == "json":
        assert printed == {message["headers"]["ce_id"]: json.loads(message["value"]) for message in messages}
    verified = run(demo, "--json", "audit", "verify", "--from", "topic", environment=environment)
    assert verified.returncode == 0, verified.stderr
    (writer,) = json.loads(verified.stdout)["writers"]
    assert (writer["first"], writer["last"], writer["gaps"]) == (1, len(messages), [])
