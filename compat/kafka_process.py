"""A Kafka broker of our own that a test may stop, kill and start again, and an independent consumer: librdkafka as
Confluent builds it for Python, with Avro by fastavro.

The jars are those that `dev/services up kafka` fetched into .terrarium/kafka.
"""

import json
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from server_process import free_port

CHECKOUT = Path(__file__).resolve().parents[1]
HOME = CHECKOUT / ".terrarium" / "kafka"
API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
READY_WITHIN_S = 120
# Short of the last optimisation: most brokers live for seconds.
SHORT_LIVED = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Broker:
    """One broker on ports that it keeps over restarts."""

    def __init__(self, directory, more_listeners="", settings=(), more_advertised=None, java=SHORT_LIVED, is_elsewhere=False):
        """`more_listeners` begin with a comma; `more_advertised` are what clients are told of them, if that differs. One that
        `is_elsewhere` stands for one on another machine: it takes what everything else leaves it (Linux's SCHED_IDLE)."""
        if not (HOME / "libs").is_dir():
            raise FileNotFoundError(f"{HOME} is missing: run `dev/services up kafka`")
        self.directory = Path(directory)
        self.java = [*(["chrt", "--idle", "0"] if is_elsewhere else []), "java", *java]
        self.address, controller = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.properties = self.directory / "broker.properties"
        self.properties.write_text(
            (CHECKOUT / "dev/kafka/broker.properties").read_text()
            + f"listeners=PLAINTEXT://{self.address},CONTROLLER://{controller}{more_listeners}\n"
            + f"advertised.listeners=PLAINTEXT://{self.address}{more_listeners if more_advertised is None else more_advertised}\n"
            + f"controller.quorum.voters=1@{controller}\n"
            + f"log.dirs={self.directory / 'data'}\n"
            + "".join(f"{setting}\n" for setting in settings)
        )
        self.process = None
        self._java("kafka.tools.StorageTool", "format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAA", "--config", self.properties).wait(60)

    def _java(self, *arguments):
        command = [*self.java, "-Dlog4j2.level=WARN", "-cp", f"{HOME}/libs/*"]
        with (self.directory / "broker.log").open("ab") as log:
            return subprocess.Popen([*command, *map(str, arguments)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.process = self._java("kafka.Kafka", self.properties)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log = (self.directory / "broker.log").read_text(errors="replace")
                raise RuntimeError("the broker does not start\n" + log[-3000:])
            time.sleep(0.05)

    def answers(self):
        host, port = self.address.split(":")
        try:
            with socket.create_connection((host, int(port)), timeout=3) as connection:
                connection.sendall(API_VERSIONS)
                return bool(connection.recv(8))
        except OSError:
            return False

    def stop(self, how=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self):
        self.stop(signal.SIGKILL)


def delete_topic(brokers, topic):
    admin = AdminClient({"bootstrap.servers": brokers})  # kept until it is done
    admin.delete_topics([topic])[topic].result(timeout=30)


def create_topic(brokers, topic, n_partitions=1, within_s=30):
    """Also one that is just being deleted."""
    admin, deadline = AdminClient({"bootstrap.servers": brokers}), time.monotonic() + within_s
    while True:
        try:
            return admin.create_topics([NewTopic(topic, n_partitions, 1)])[topic].result(timeout=within_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def has_topic(brokers, topic):
    return topic in AdminClient({"bootstrap.servers": brokers}).list_topics(timeout=30).topics


def consume(brokers, topic, within_s=60):
    """Every message of a topic from which nothing was deleted, partition by partition, as dictionaries."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "compat", "enable.auto.commit": False})
    try:
        partitions = list(consumer.list_topics(topic, timeout=within_s).topics[topic].partitions)
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=within_s)[1] for p in partitions}
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        messages, deadline = [], time.monotonic() + within_s
        while len(messages) < sum(ends.values()):
            assert time.monotonic() < deadline, f"{len(messages)} of {ends} messages of {topic} within {within_s} s"
            for message in consumer.consume(1000, timeout=0.2):
                assert message.error() is None, message.error()
                messages.append({
                    "partition": message.partition(),
                    "offset": message.offset(),
                    "key": (message.key() or b"").decode(),
                    "value": message.value(),
                    "timestamp": message.timestamp()[1],
                    "headers": {name: value.decode() for name, value in message.headers() or []},
                })
        return sorted(messages, key=lambda message: (message["partition"], message["offset"]))
    finally:
        consumer.close()


def on_topic(brokers, topic, ids, within_s=60):
    """All messages of the topic, once it is there and all these events are among them."""
    deadline = time.monotonic() + within_s
    while True:
        messages = consume(brokers, topic) if has_topic(brokers, topic) else []
        missing = ids - {message["headers"]["ce_id"] for message in messages}
        if not missing:
            return messages
        assert time.monotonic() < deadline, f"{len(missing)} of {len(ids)} events are not on {topic} after {within_s} s"
        time.sleep(0.5)


def events(messages):
    """The events of a topic in `json`."""
    return [json.loads(message["value"]) for message in messages]


def assert_complete(messages):
    """For every writer: sequences from 1 to its last without a gap; the same sequence is always the same event."""
    writers = {}
    for message in messages:
        headers = message["headers"]
        sequences = writers.setdefault(headers["ce_writer"], {})
        before = sequences.setdefault(int(headers["ce_sequence"]), headers["ce_id"])
        assert before == headers["ce_id"], f"two events have sequence {headers['ce_sequence']} of {headers['ce_writer']}"
    for writer, sequences in writers.items():
        missing = set(range(1, max(sequences) + 1)) - set(sequences)
        assert not missing, f"writer {writer} has {max(sequences)} events, of which {sorted(missing)[:10]} are missing"
    return writers
