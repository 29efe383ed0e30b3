"""The guarantee of the audit trail, checked by a consumer that we did not write: every answered prediction is on the topic,
each writer's sequence has no gap, and a sequence always names the same event.

    KAFKA_ROUNDS=100 .terrarium/venv/bin/python -m pytest compat/kafka -k killed     # short rounds by default
"""

import os
import random
import threading
import time
import uuid

import pytest
import requests
from confluent_kafka import KafkaException
from demo_process import demo_copy, serve
from kafka_process import Broker, assert_complete, consume, delete_topic

ROUNDS = int(os.environ.get("KAFKA_ROUNDS", "3"))
DRAINED_WITHIN_S = 60
BODY = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def topic():
    return f"guarantee-{uuid.uuid4().hex}"


class Load:
    """Predictions from several connections, until it is stopped; keeps the ids that were answered."""

    def __init__(self, server, n_connections=4):
        self.answered, self.refused = set(), []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(server,)) for _ in range(n_connections)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def run(self, server):
        session = requests.Session()
        session.trust_env = False
        while not self.stopped.is_set():
            try:
                answer = session.post(f"http://{server.address}/v1/models/driver_ranking/predict", json=BODY, timeout=10)
            except requests.RequestException:
                return  # the server was killed
            if answer.ok:
                self.answered.add(answer.json()["id"])
            else:
                self.refused.append(answer.text)

    def wait(self, n_more):
        """Until so many more were answered."""
        target = len(self.answered) + n_more
        deadline = time.monotonic() + DRAINED_WITHIN_S
        while len(self.answered) < target:
            assert time.monotonic() < deadline, f"{len(self.answered)} answered, {self.refused[-1:]}"
            time.sleep(0.01)


def on_topic(broker, topic, answered):
    """All messages of the topic, once every answered prediction is among them."""
    deadline = time.monotonic() + DRAINED_WITHIN_S
    while True:
        messages = consume(broker.address, topic)
        missing = answered - {message["headers"]["ce_id"] for message in messages}
        if not missing:
            return messages
        assert time.monotonic() < deadline, f"{len(missing)} of {len(answered)} answered predictions are not on the topic"
        time.sleep(0.5)


def test_a_killed_server_leaves_no_answer_without_its_event(demo, broker, topic):
    answered = set()
    for _ in range(ROUNDS):
        server = serve(demo, broker.address, topic)
        with server, Load(server) as load:
            load.wait(random.randrange(1, 400))
            server.process.kill()
            server.process.wait()
        answered |= load.answered
    with serve(demo, broker.address, topic):
        messages = on_topic(broker, topic, answered)
    writers = assert_complete(messages)
    assert sum(1 for sequences in writers.values() if sequences) >= ROUNDS


def test_predictions_go_on_while_the_broker_is_stopped_and_arrive_afterwards(demo, broker, topic):
    with serve(demo, broker.address, topic) as server:
        with Load(server) as load:
            load.wait(200)
            broker.stop()
            load.wait(500)
            broker.start()
            load.wait(200)
            broker.kill()
            load.wait(500)
            broker.start()
            load.wait(200)
        assert not load.refused, load.refused[0]
        messages = on_topic(broker, topic, load.answered)
    assert_complete(messages)


def test_a_server_that_starts_without_a_broker_serves_and_delivers_later(demo, broker, topic):
    broker.stop()
    try:
        with serve(demo, broker.address, topic) as server:
            with Load(server) as load:
                load.wait(300)
            broker.start()
            messages = on_topic_once_made(broker, topic, load.answered)
        assert_complete(messages)
    finally:
        if not broker.answers():
            broker.start()


def on_topic_once_made(broker, topic, answered):
    deadline = time.monotonic() + DRAINED_WITHIN_S
    while True:
        try:
            return on_topic(broker, topic, answered)
        except KafkaException:  # it is not there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_a_topic_that_is_deleted_and_made_again_has_everything_from_then_on(demo, broker, topic):
    with serve(demo, broker.address, topic) as server:
        with Load(server) as before:
            before.wait(200)
        on_topic(broker, topic, before.answered)
        delete_topic(broker.address, topic)
        with Load(server) as after:
            after.wait(500)
        messages = on_topic_once_made(broker, topic, after.answered)
    sequences = sorted({int(message["headers"]["ce_sequence"]) for message in messages})
    assert sequences == list(range(sequences[0], sequences[-1] + 1))
