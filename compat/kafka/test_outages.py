"""Kafka on bad days: absent, stopped, killed, without its topic, behind a network that swallows everything; and a spool that is
full meanwhile. Predictions go on, and afterwards a consumer that we did not write finds every answered one on the topic, each
writer's sequence without a gap; `terrarium audit verify` finds the same.

    KAFKA_OUTAGE_SECONDS=60 .terrarium/venv/bin/python -m pytest compat/kafka/test_outages.py -s    # also prints latencies
"""

import json
import os
import subprocess
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from demo_process import demo_copy, serve
from kafka_process import Broker, assert_complete, consume, create_topic, delete_topic, has_topic, on_topic
from predict_load import Load
from server_process import free_port
from tcp_proxy import Proxy
from terrarium_process import run

IS_SHORT = "KAFKA_OUTAGE_SECONDS" not in os.environ
SECONDS = float(os.environ.get("KAFKA_OUTAGE_SECONDS", "5"))
# An answer is waited for up to half a minute on a connection, then it takes ten seconds until the next one.
WITHIN_S = 180
# The same sooner, so that the short form is short.
HURRIED = {"socket.timeout.ms": "3000", "reconnect.backoff.max.ms": "1000"}
# What the shipper has sent and not heard of, at most, and a batch beside it.
MAX_SENT_BYTES = 9 << 20


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    directory = demo_copy(tmp_path_factory.mktemp("demo"))
    # A busy machine shall not count as an outage.
    text = '[features]\ntimeout = "10s"\n'
    if IS_SHORT:
        text += "[audit.kafka.options]\n" + "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in HURRIED.items())
    (directory / "terrarium.toml").write_text(text)
    return directory


@pytest.fixture(scope="module")
def network():
    """Between the server and the broker, for tests that break it; `broker.address` goes past it."""
    with Proxy(f"127.0.0.1:{free_port()}") as network:
        yield network


@pytest.fixture(scope="module")
def broker(tmp_path_factory, network):
    behind = ":".join(map(str, network.target))
    # Where latencies are looked at, it stands for one on a machine of its own.
    listeners = {"more_listeners": f",PROXIED://{behind}", "more_advertised": f",PROXIED://{network.address}"}
    with Broker(tmp_path_factory.mktemp("kafka"), **listeners, is_elsewhere=not IS_SHORT) as broker:
        yield broker


@pytest.fixture
def topic():
    return f"outages-{uuid.uuid4().hex}"


class Outage:
    """Sees to it that what happens to Kafka is not felt."""

    def __init__(self, name, load):
        self.name, self.load = name, load
        self.before = load.go_on_for(min(SECONDS, 10) if not IS_SHORT else 1)

    def during(self, seconds=SECONDS):
        self.tell("in the outage", self.load.go_on_for(seconds))

    def afterwards(self, seconds=SECONDS / 5):
        self.tell("afterwards", self.load.go_on_for(seconds))

    def tell(self, when, p99):
        if not IS_SHORT:
            print(f"\n{self.name}: p99 {self.before * 1e3:.2f} ms before, {p99 * 1e3:.2f} ms {when}, ratio {p99 / self.before:.2f}")


def prove(demo, broker, topic, answered, n_failures):
    """Both find everything that was answered, and the same. `n_failures`: how often the shipper began anew."""
    messages = on_topic(broker.address, topic, answered, WITHIN_S)
    writers = assert_complete(messages)
    counts = Counter((message["headers"]["ce_writer"], int(message["headers"]["ce_sequence"])) for message in messages)
    n_bytes_twice = sum(
        len(message["value"]) for message in messages
        if counts[message["headers"]["ce_writer"], int(message["headers"]["ce_sequence"])] > 1
    )  # fmt: skip
    assert n_bytes_twice <= 2 * n_failures * MAX_SENT_BYTES, f"{n_bytes_twice} bytes came twice, after {n_failures} failures"
    reports = verify(demo, broker, topic)
    found = {report["writer"]: tuple(report[of] for of in ("n_events", "first", "last", "n_duplicates")) for report in reports}
    expected = {}
    for writer, sequences in writers.items():
        n_events = sum(n for (of, _), n in counts.items() if of == writer)
        expected[writer] = (n_events, min(sequences), max(sequences), n_events - len(sequences))
    assert found == expected
    return messages


def verify(demo, broker, topic):
    """What `terrarium audit verify` finds, which is no gap."""
    environment = {"TERRARIUM__AUDIT__KAFKA__BROKERS": broker.address, "TERRARIUM__AUDIT__KAFKA__TOPIC": topic}
    verified = run(demo, "--json", "audit", "verify", "--from", "topic", environment=environment)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return json.loads(verified.stdout)["writers"]


def failures(server):
    return int(server.metric("terrarium_audit_ship_failures_total"))


def until(condition, what, within_s=WITHIN_S):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {within_s} s"
        time.sleep(0.05)


def is_shipped(server):
    """For a server that is asked for nothing any more."""
    return server.metric("terrarium_audit_spool_events") == 0 and not server.reasons()


def delivers(server):
    """For one under load, which always has some events on their way."""
    is_shipping = server.metric("terrarium_audit_shipped_total") > 0 and server.metric("terrarium_audit_spool_events") < 2000
    return is_shipping and not server.reasons()


def test_a_broker_that_is_stopped_and_one_that_is_killed_are_not_felt(demo, broker, topic):
    with serve(demo, broker.address, topic) as server:
        with Load(server) as load:
            for how in (broker.stop, broker.kill):
                until(lambda: delivers(server), "delivery")
                outage = Outage(how.__name__, load)
                how()
                outage.during(SECONDS / 2 if IS_SHORT else SECONDS)
                broker.start()
                outage.afterwards()
        until(lambda: is_shipped(server), "an empty spool")
        n_failures = failures(server)
    assert not load.refused
    prove(demo, broker, topic, load.answered, n_failures)


def test_a_broker_that_is_away_for_the_whole_run_has_everything_of_the_next(demo, broker, topic):
    broker.stop()
    try:
        with serve(demo, broker.address, topic, {"TERRARIUM__AUDIT__DRAIN_TIMEOUT": "1s"}) as server, Load(server) as first:
            first.go_on_for(SECONDS / 5)
            until(lambda: any(topic in reason for reason in server.reasons()), "a reason in /readyz")
        assert server.process.returncode == 0, server.log_tail()
        with serve(demo, broker.address, topic) as server:
            with Load(server) as load:
                load.wait(100)
                broker.start()
                until(lambda: delivers(server), "delivery")
            until(lambda: is_shipped(server), "an empty spool")
    finally:
        if not broker.answers():
            broker.start()
    assert not first.refused and not load.refused
    prove(demo, broker, topic, first.answered | load.answered, 0)


@pytest.mark.parametrize("away_s", [0, SECONDS / 2], ids=["at once", "after a while"])
def test_a_topic_that_somebody_deletes_and_makes_again_has_everything_from_then_on(demo, broker, topic, away_s):
    create_topic(broker.address, topic)
    with serve(demo, broker.address, topic, create_topics__partitions=None) as server:
        with Load(server) as load:
            load.wait(300)
            outage = Outage("topic deleted", load)
            delete_topic(broker.address, topic)
            until(lambda: not has_topic(broker.address, topic), "the end of the topic")
            if not away_s:
                create_topic(broker.address, topic)
            # Until then the broker may have taken some for the topic that it was just giving up.
            load.go_on_for(1)
            before = set(load.answered)
            if away_s:
                outage.during(away_s)
                assert not has_topic(broker.address, topic), "somebody made it"
                create_topic(broker.address, topic)
            load.wait(300)
        on_topic(broker.address, topic, load.answered - before, WITHIN_S)
        until(lambda: is_shipped(server), "an empty spool")
    assert not load.refused
    sequences = sorted({int(message["headers"]["ce_sequence"]) for message in consume(broker.address, topic)})
    assert sequences == list(range(sequences[0], sequences[-1] + 1))
    (report,) = verify(demo, broker, topic)
    assert (report["first"], report["last"]) == (sequences[0], sequences[-1])


def test_a_network_that_swallows_everything_is_noticed_and_survived(demo, broker, network, topic):
    with serve(demo, network.address, topic) as server:
        with Load(server) as load:
            until(lambda: delivers(server), "delivery")
            outage = Outage("black hole", load)
            network.swallow()
            used_s = librdkafka_seconds(server)
            outage.during()
            used_s = librdkafka_seconds(server) - used_s
            # Its threads look again and again, without a pause, at messages that wait behind others of their partition.
            assert used_s < 0.3 * SECONDS, f"{used_s} s of processor time in {SECONDS} s"
            assert server.metric("terrarium_audit_spool_events") > 0
            if not IS_SHORT:  # it takes 15 s
                until(lambda: any("kafka" in reason for reason in server.reasons()), "a reason in /readyz")
            network.pass_on()
            outage.afterwards()
        until(lambda: is_shipped(server), "an empty spool")
        n_failures = failures(server)
    assert not load.refused
    prove(demo, broker, topic, load.answered, n_failures)


def librdkafka_seconds(server):
    """Processor time of the threads that speak to brokers."""
    times = []
    for thread in Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            if (thread / "comm").read_text().startswith("rdk:"):
                times.append(int((thread / "schedstat").read_text().split()[0]) / 1e9)
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            pass
    assert times
    return sum(times)


def test_a_server_that_starts_where_the_network_swallows_everything_serves_and_delivers_later(demo, broker, network, topic):
    network.swallow()
    try:
        with serve(demo, network.address, topic) as server:
            with Load(server) as load:
                load.wait(200)
                until(lambda: any(topic in reason for reason in server.reasons()), "a reason in /readyz")
                network.pass_on()
                until(lambda: delivers(server), "delivery")
            until(lambda: is_shipped(server), "an empty spool")
    finally:
        network.pass_on()
    assert not load.refused
    prove(demo, broker, topic, load.answered, 0)


@contextmanager
def small_disk(directory, n_bytes):
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(directory)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


SMALL_SEGMENTS = {"TERRARIUM__AUDIT__SPOOL__SEGMENT_SIZE": "128KiB"}


def fill(server, load):
    """Until predictions are refused."""
    load.wait_for(lambda: sum(load.refused.values()) > 200)
    response = server.get("/readyz")
    assert response.status_code == 503 and "audit_unavailable" in response.text, response.text
    assert set(load.refused) == {(503, "audit_unavailable")}


def drain(server, load, network):
    """Predictions go on by themselves once there is room."""
    network.pass_on()
    load.wait(500)
    until(lambda: delivers(server), "delivery")
    assert server.get("/readyz").status_code == 200


def test_a_full_disk_refuses_predictions_and_answers_none_without_its_event(demo, broker, network, topic):
    with small_disk(demo / "small-disk", 2 << 20) as disk:
        environment = SMALL_SEGMENTS | {"TERRARIUM__AUDIT__SPOOL__DIRECTORY": str(disk / "spool")}
        network.refuse()
        with serve(demo, network.address, topic, environment) as server, Load(server) as before:
            fill(server, before)
            server.process.kill()
        # The next process starts on the full disk, or nothing would ever make room.
        with serve(demo, network.address, topic, environment) as server:
            with Load(server) as load:
                fill(server, load)
                drain(server, load, network)
            until(lambda: is_shipped(server), "an empty spool")
            n_failures = failures(server)
        prove(demo, broker, topic, before.answered | load.answered, n_failures)


def test_a_full_spool_refuses_predictions_and_answers_none_without_its_event(demo, broker, network, topic):
    environment = SMALL_SEGMENTS | {"TERRARIUM__AUDIT__SPOOL__MAX_SIZE": "2MiB"}
    network.refuse()
    with serve(demo, network.address, topic, environment) as server:
        with Load(server) as load:
            fill(server, load)
            drain(server, load, network)
        until(lambda: is_shipped(server), "an empty spool")
        n_failures = failures(server)
    prove(demo, broker, topic, load.answered, n_failures)


def test_a_full_spool_drops_events_where_that_is_wanted_and_counts_each(demo, broker, network, topic):
    environment = SMALL_SEGMENTS | {"TERRARIUM__AUDIT__SPOOL__MAX_SIZE": "1MiB", "TERRARIUM__AUDIT__ON_FAILURE": "drop"}
    with serve(demo, network.address, topic, environment) as server:
        with Load(server) as load:
            until(lambda: delivers(server), "delivery")
            network.refuse()
            load.wait_for(lambda: server.metric("terrarium_audit_failures_total") > 200)
            network.pass_on()
            load.wait_for(lambda: not server.reasons())
            load.wait(200)
        until(lambda: is_shipped(server), "an empty spool")
        n_dropped, n_failures = int(server.metric("terrarium_audit_failures_total")), failures(server)
    assert not load.refused
    there = {message["headers"]["ce_id"] for message in consume(broker.address, topic)}
    assert len(load.answered - there) == n_dropped
    prove(demo, broker, topic, load.answered & there, n_failures)
