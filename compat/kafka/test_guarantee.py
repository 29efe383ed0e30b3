"""The guarantee of the audit trail, checked by a consumer that we did not write: every answered prediction is on the topic,
each writer's sequence has no gap, and a sequence always names the same event. Here the server is killed; `test_outages.py`
has what happens to Kafka.

    KAFKA_ROUNDS=100 .terrarium/venv/bin/python -m pytest compat/kafka -k killed     # short rounds by default
"""

import os
import random
import uuid

import pytest
from demo_process import demo_copy, serve
from kafka_process import Broker, assert_complete, on_topic
from predict_load import Load

ROUNDS = int(os.environ.get("KAFKA_ROUNDS", "3"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demo_copy(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


def test_a_killed_server_leaves_no_answer_without_its_event(demo, broker):
    topic, answered = f"guarantee-{uuid.uuid4().hex}", set()
    for _ in range(ROUNDS):
        server = serve(demo, broker.address, topic)
        with server, Load(server) as load:
            load.wait(random.randrange(1, 400))
            server.process.kill()
            server.process.wait()
        answered |= load.answered
    with serve(demo, broker.address, topic):
        messages = on_topic(broker.address, topic, answered)
    writers = assert_complete(messages)
    assert sum(1 for sequences in writers.values() if sequences) >= ROUNDS
