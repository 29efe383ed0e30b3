#!/usr/bin/env python3
"""Terrarium's way to a real Kafka broker beside a bare producer, and predictions while the broker or the network is away. Run by
dev/bench-peers, with the Python of .terrarium/venv, in the repository root:

    bench.py BIN WORK      the directory of the binaries `produce` and `open_loop`, and an empty directory

TERRARIUM_BIN is the binary under test, built with feature `kafka`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path[:0] = ["dev", "compat"]

import bench as common
from confluent_kafka import Consumer, TopicPartition
from demo_process import demo_copy, serve
from kafka_process import Broker, create_topic, delete_topic
from predict_load import BODY, PATH
from server_process import free_port
from tcp_proxy import Proxy

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 1 if QUICK else 3))
EVENTS = int(os.environ.get("EVENTS", 50_000 if QUICK else 500_000))
OUTAGE_SECONDS = int(os.environ.get("OUTAGE_SECONDS", 10 if QUICK else 60))
PARTS = os.environ.get("PARTS", "ship,outage").split(",")
OUTAGES = os.environ.get("OUTAGES", "stopped,killed,deleted,swallowed").split(",")
PARTITIONS = 3
# More than are due in a pause of the scheduler's, so that none is left out for want of a connection.
OUTAGE_CONNECTIONS = 512
FILL_CONNECTIONS = 16
# Where what is written waits for no disk; None: where temporary directories are.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
# As a broker runs that lives for longer than a test.
JAVA = ["-Xmx1g"]


def main(binaries, work):
    work = Path(work)
    common.print_machine(f"{ROUNDS} rounds of {EVENTS} events; a broker that is away for {OUTAGE_SECONDS} s")
    demo = demo_copy(work)
    # A broker that comes back stands for one on a machine of its own: it takes what predictions leave it, and not their disk.
    if "ship" in PARTS:
        (work / "ship").mkdir()
        with Broker(work / "ship", java=JAVA) as broker:
            ship(binaries, demo, broker)
    if "outage" in PARTS:
        with tempfile.TemporaryDirectory(dir=MEMORY) as elsewhere, Proxy(f"127.0.0.1:{free_port()}") as network:
            behind = ":".join(map(str, network.target))
            listeners = {"more_listeners": f",PROXIED://{behind}", "more_advertised": f",PROXIED://{network.address}"}
            with Broker(elsewhere, java=JAVA, is_elsewhere=True, **listeners) as broker:
                outage(binaries, demo, broker, network)
    common.print_machine("afterwards")


# ---- from the spool to the broker


def ship(binaries, demo, broker):
    n_events = fill(demo)
    # The first round warms the broker up, and is the one whose messages the bare producer sends again.
    first = f"ship-first-{os.getpid()}"
    terrarium_round(demo, broker, first, n_events)
    produce_round(binaries, broker, first, n_events)
    rounds = []
    for _ in range(ROUNDS):
        terrarium, peak = terrarium_round(demo, broker, f"ship-{os.getpid()}-{len(rounds)}", n_events, is_kept=False)
        bare, n_bytes = produce_round(binaries, broker, first, n_events)
        rounds.append({"terrarium": terrarium, "bare": bare, "peak": peak, "bytes": n_bytes})
    delete_topic(broker.address, first)
    shutil.rmtree(demo / "filled")
    print(f"\n{'':<24} {'events/s':>9} {'MB/s':>7} {'peak memory MiB':>16}")
    for name, title in (("bare", "bare rdkafka producer"), ("terrarium", "terrarium, from the spool")):
        rate = median(round_[name] for round_ in rounds)
        peak = f"{median(round_['peak'] for round_ in rounds):.0f}" if name == "terrarium" else ""
        print(f"{title:<24} {rate:>9.0f} {rate * rounds[0]['bytes'] / n_events / 1e6:>7.1f} {peak:>16}")
    print()
    common.print_bar("kafka_ship_events_per_s", median(round_["terrarium"] / round_["bare"] for round_ in rounds), ">=", 0.80)


def fill(demo):
    """How many events wait in `filled`: predictions of a server whose brokers are nowhere."""
    spool = demo / "filled"
    environment = {"TERRARIUM__AUDIT__SPOOL__DIRECTORY": str(spool), "TERRARIUM__AUDIT__SPOOL__MAX_SIZE": "64GiB"}
    with serve(demo, f"127.0.0.1:{free_port()}", "nowhere", environment) as server:
        while int(server.metric("terrarium_audit_events_total")) < EVENTS:
            common.drive_body(server, PATH, BODY, FILL_CONNECTIONS, 2)
        n_events = None
        # The last calls of a load that has ended may still be at work.
        while n_events != (n_events := int(server.metric("terrarium_audit_events_total"))):
            time.sleep(0.2)
        server.process.kill()
        server.process.wait()
    return n_events


def terrarium_round(demo, broker, topic, n_events, is_kept=True):
    """(events per second, peak memory in MiB) of a server that starts beside such a spool and is asked for nothing else."""
    create_topic(broker.address, topic, PARTITIONS)
    with tempfile.TemporaryDirectory(dir=demo) as spool:
        shutil.copytree(demo / "filled", spool, dirs_exist_ok=True)
        environment = {"TERRARIUM__AUDIT__SPOOL__DIRECTORY": spool}
        with serve(demo, broker.address, topic, environment) as server:
            begun, n_before = wait_for(server, 1)
            ended, n_after = wait_for(server, n_events)
            peak = memory(server)
    assert n_on(broker, topic) == n_events, f"{n_on(broker, topic)} of {n_events} events are on the topic"
    if not is_kept:
        delete_topic(broker.address, topic)
    if n_before >= n_events / 2:
        sys.exit(f"error: {n_before} of {n_events} events were shipped at the first look; EVENTS is too small to measure")
    return (n_after - n_before) / (ended - begun), peak


def wait_for(server, n_shipped):
    """When it was seen that so many are shipped, and how many there were."""
    deadline = time.monotonic() + 600
    while (n := int(server.metric("terrarium_audit_shipped_total"))) < n_shipped:
        if time.monotonic() > deadline:
            sys.exit(f"error: {n} of {n_shipped} events are shipped after 600 s\n{server.log_tail()}")
        time.sleep(0.01)
    return time.monotonic(), n


def produce_round(binaries, broker, source, n_events):
    """(messages per second, bytes of all values)"""
    topic = f"bare-{time.monotonic_ns()}"
    create_topic(broker.address, topic, PARTITIONS)
    outcome = subprocess.run([f"{binaries}/produce", broker.address, source, topic, str(n_events)], capture_output=True, text=True)
    if outcome.returncode != 0:
        sys.exit(f"error: the bare producer failed\n{outcome.stderr}")
    told = json.loads(outcome.stdout)
    assert n_on(broker, topic) == n_events
    delete_topic(broker.address, topic)
    return told["messages"] / told["seconds"], told["bytes"]


def memory(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


# ---- predictions while the broker is away


def outage(binaries, demo, broker, network):
    """What happens, each in a run of its own. A topic that is deleted is made again by Terrarium, as it is told to."""
    outages = {
        "stopped": (broker.address, lambda _: broker.stop(), lambda _: broker.start()),
        "killed": (broker.address, lambda _: broker.kill(), lambda _: broker.start()),
        "deleted": (broker.address, lambda topic: delete_topic(broker.address, topic), lambda _: None),
        "swallowed": (network.address, lambda _: network.swallow(), lambda _: network.pass_on()),
    }
    for what in OUTAGES:
        away(binaries, demo, broker, what, *outages[what])


def away(binaries, demo, broker, what, address, go, come_back):
    topic = f"outage-{what}-{os.getpid()}"
    with serve(demo, address, topic, {"TERRARIUM__AUDIT__SPOOL__MAX_SIZE": "64GiB"}) as server:
        capacity = common.drive_body(server, PATH, BODY, 8, 5)["rps"]
        # Below what the machine can do beside a broker, so that nothing queues.
        rate = capacity / 4
        wait_until_shipped(server)
        phases = {"before": ask(binaries, server, rate, max(OUTAGE_SECONDS // 2, 5))}
        go(topic)
        phases[what] = ask(binaries, server, rate, OUTAGE_SECONDS)
        n_waiting = int(server.metric("terrarium_audit_spool_events"))
        come_back(topic)
        phases["afterwards"] = ask(binaries, server, rate, max(OUTAGE_SECONDS // 2, 5))
        wait_until_shipped(server)
        n_events = int(server.metric("terrarium_audit_events_total"))
    n_there = n_on(broker, topic)
    print(f"\n{'':<16} {'answers':>8} {'p50 us':>8} {'p99 us':>8}   ({rate:.0f} predictions/s; {n_waiting} events waited at the end)")
    for name, answers in phases.items():
        print(f"{name:<16} {answers['n']:>8} {answers['p50']:>8.0f} {answers['p99']:>8.0f}")
    print()
    if n_there < n_events and what != "deleted":  # what was on it then is gone
        sys.exit(f"error: {n_events} events, but {n_there} on the topic")
    before = phases["before"]["p99"]
    common.print_bar(f"kafka_p99_{what}", phases[what]["p99"] / before, "<=", 1.20)
    common.print_bar(f"kafka_p99_{what}_afterwards", phases["afterwards"]["p99"] / before, "<=", 1.20)


def ask(binaries, server, rate, seconds):
    command = [f"{binaries}/open_loop", server.address, PATH, json.dumps(BODY), f"{rate:.1f}", str(seconds), str(OUTAGE_CONNECTIONS)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        sys.exit(f"error: the load generator failed\n{outcome.stderr}{server.log_tail()}")
    told = json.loads(outcome.stdout)
    if set(told["statuses"]) != {"200"} or told["lost"] or told["not_sent"]:
        sys.exit(f"error: not every prediction was answered: {told}\n{server.log_tail()}")
    return told["statuses"]["200"]


def wait_until_shipped(server):
    deadline = time.monotonic() + 600
    while server.metric("terrarium_audit_spool_events") > 0 or server.reasons():
        if time.monotonic() > deadline:
            sys.exit(f"error: events are left in the spool: {server.reasons()}\n{server.log_tail()}")
        time.sleep(0.1)


# ----


def n_on(broker, topic):
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "bench"})
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30) for p in partitions]
        return sum(high - low for low, high in marks)
    finally:
        consumer.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: bench.py BIN WORK")
    main(*sys.argv[1:])
