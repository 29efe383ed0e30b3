"""TLS and SASL to a real broker, and rights: a principal that may not write to the topic has its events in the dead-letter
topic, with the reason.
"""

import json
import subprocess
import time
import uuid

import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType, ResourceType
from demo_process import demo_copy, serve
from kafka_process import Broker, assert_complete, consume
from server_process import free_port

PASSWORD = "a \"quoted\" secret"
BODY = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """(broker, its address for TLS and SASL, its certificate)"""
    directory = tmp_path_factory.mktemp("kafka")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    store = directory / "store.pem"
    store.write_text((directory / "key.pem").read_text() + (directory / "certificate.pem").read_text())
    address = f"127.0.0.1:{free_port()}"
    quoted = PASSWORD.replace('"', '\\\\"')
    settings = [
        f"ssl.keystore.location={store}",
        "ssl.keystore.type=PEM",
        "listener.name.sasl_ssl.sasl.enabled.mechanisms=PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config="
        f'org.apache.kafka.common.security.plain.PlainLoginModule required user_audit="{quoted}";',
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users=User:ANONYMOUS",
    ]
    with Broker(directory, f",SASL_SSL://{address}", settings) as broker:
        yield broker, address, directory / "certificate.pem"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


def grant(broker, topic, *operations):
    admin = AdminClient({"bootstrap.servers": broker.address})
    bindings = [
        AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:audit", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    for granted in admin.create_acls(bindings).values():
        granted.result(timeout=30)


def make(broker, *topics):
    admin = AdminClient({"bootstrap.servers": broker.address})
    for made in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        made.result(timeout=30)


def configure(demo, certificate):
    options = {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "ssl.ca.location": str(certificate)}
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in options.items()]
    (demo / "terrarium.toml").write_text("[audit.kafka.options]\n" + "\n".join(lines) + "\n")


def predict(demo, address, topic, n, **settings):
    with serve(demo, address, topic, username="audit", **settings) as terrarium:
        answers = [terrarium.predict("driver_ranking", BODY) for _ in range(n)]
        assert all(answer.ok for answer in answers), answers[0].text
        return {answer.json()["id"] for answer in answers}, terrarium


def until_there(broker, topic, ids):
    deadline = time.monotonic() + 30
    while True:
        messages = consume(broker.address, topic)
        if ids <= {message["headers"]["ce_id"] for message in messages}:
            return messages
        assert time.monotonic() < deadline, f"{len(messages)} messages of {len(ids)} on {topic}"
        time.sleep(0.2)


def test_events_arrive_over_tls_with_a_password(demo, secured):
    broker, address, certificate = secured
    topic = f"secured-{uuid.uuid4().hex}"
    make(broker, topic, f"{topic}.dead-letter")
    grant(broker, topic, AclOperation.WRITE, AclOperation.DESCRIBE)
    configure(demo, certificate)
    ids, terrarium = predict(demo, address, topic, 20, password=PASSWORD)
    assert_complete(until_there(broker, topic, ids))
    assert PASSWORD not in terrarium.log.read_text()


def test_events_without_the_right_to_the_topic_are_in_the_dead_letter_topic_with_the_reason(demo, secured):
    broker, address, certificate = secured
    topic = f"forbidden-{uuid.uuid4().hex}"
    letters = f"{topic}.dead-letter"
    make(broker, topic, letters)
    grant(broker, topic, AclOperation.DESCRIBE)
    grant(broker, letters, AclOperation.WRITE, AclOperation.DESCRIBE)
    configure(demo, certificate)
    ids, _ = predict(demo, address, topic, 5, password=PASSWORD)
    for message in until_there(broker, letters, ids):
        headers = message["headers"]
        assert headers["terrarium_reason"].startswith("TopicAuthorizationFailed"), headers
        assert (headers["terrarium_topic"], headers["terrarium_part"]) == (topic, "1/1")
        assert json.loads(message["value"])["id"] == headers["ce_id"]
    assert not consume(broker.address, topic)


def test_a_wrong_password_is_told_and_predictions_go_on(demo, secured):
    broker, address, certificate = secured
    topic = f"wrong-{uuid.uuid4().hex}"
    make(broker, topic, f"{topic}.dead-letter")
    grant(broker, topic, AclOperation.WRITE, AclOperation.DESCRIBE)
    configure(demo, certificate)
    ids, terrarium = predict(demo, address, topic, 5, password="wrong")
    assert "Authentication" in terrarium.log.read_text()
    assert not consume(broker.address, topic)
    # What waited in the spool arrives with the right one.
    more, _ = predict(demo, address, topic, 5, password=PASSWORD)
    assert_complete(until_there(broker, topic, ids | more))
