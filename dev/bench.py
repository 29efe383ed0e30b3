#!/usr/bin/env python3
"""Drives Terrarium and the floor server in turns with wrk and compares them. Run by dev/bench, in the repository root.

    dev/bench.py TERRARIUM FLOOR REDIS      two binaries, host:port of a Redis with the demo features
"""

import json
import math
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import server

ROUNDS = int(os.environ.get("ROUNDS", 5))
ROUND_SECONDS = int(os.environ.get("ROUND_SECONDS", 5))
CONNECTIONS = [1, 8, 64]
MODEL = "models/driver_ranking/2/model.onnx"  # what `champion` means
LIBRARY = os.environ.get("ORT_DYLIB_PATH", ".terrarium/lib/libonnxruntime.so")
PATHS = {"floor": "/predict", "terrarium": "/v1/models/driver_ranking/predict"}

# Feast's entity key of `driver_id`, up to its value, and what follows the value in Redis.
KEY_HEAD = b"\x01\0\0\0\x02\0\0\0\x09\0\0\0driver_id\x04\0\0\0\x08\0\0\0"
KEY_TAIL = b"terrarium_demo"


def main(terrarium, floor, redis):
    drivers = demo_drivers(redis)
    bodies = [{"entities": {"driver_id": [driver]}, "inputs": {"trip_km": [3.2]}} for driver in drivers]
    print_machine(f"{len(drivers)} drivers, {ROUNDS} rounds of {ROUND_SECONDS} s for each server")
    with tempfile.NamedTemporaryFile("w", prefix="terrarium-bodies-") as file:
        file.write("".join(json.dumps(body) + "\n" for body in bodies))
        file.flush()
        os.environ["BODIES"] = file.name
        rounds = {n: measure(n, terrarium, floor, redis, bodies) for n in CONNECTIONS}
    print_table(rounds)
    print_machine("afterwards")
    print_bar("predict_p50_1conn", median_ratio(rounds[1], "p50"), "<=", 1.30)
    print_bar("predict_rps_64conn", median_ratio(rounds[64], "rps"), ">=", 0.60)


def demo_drivers(redis):
    """The drivers that Redis knows, read off its keys."""
    host, port = redis.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"KEYS *\r\n")
        count = int(answer.readline()[1:])
        keys = [answer.read(int(answer.readline()[1:]) + 2)[:-2] for _ in range(count)]
    wanted = len(KEY_HEAD) + 8 + len(KEY_TAIL)
    keys = [k for k in keys if len(k) == wanted and k.startswith(KEY_HEAD) and k.endswith(KEY_TAIL)]
    if not keys:
        sys.exit(f"error: Redis at {redis} holds no driver of the demo; was it materialized?")
    return sorted(struct.unpack("<q", k[len(KEY_HEAD) :][:8])[0] for k in keys)


def measure(n_connections, terrarium, floor, redis, bodies):
    """One dict a round: server name -> result. Fresh servers and a fresh audit directory for each number of connections."""
    print(f"{n_connections} connections", end="", flush=True)
    # Beside the checkout and not in /tmp, which may be memory: the audit trail is to be written to a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".terrarium") as audit:
        floor_server = server.Server("floor", lambda address: [floor, address, redis, MODEL, LIBRARY], "/healthz")
        with floor_server, server.terrarium(terrarium, audit) as terrarium_server:
            servers = {"floor": floor_server, "terrarium": terrarium_server}
            check_scores(servers, bodies)
            for name in servers:
                drive(servers[name], PATHS[name], n_connections, 2)
            rounds = []
            for number in range(ROUNDS):
                order = list(servers) if number % 2 == 0 else list(servers)[::-1]
                rounds.append({name: drive(servers[name], PATHS[name], n_connections, ROUND_SECONDS) for name in order})
                print(" .", end="", flush=True)
            print()
            terrarium_server.stop()
        check_audit(Path(audit), sum(round_["terrarium"]["answers"] for round_ in rounds))
    return rounds


def check_scores(servers, bodies):
    """Both compute the same thing, or there is nothing to compare."""
    for body in bodies:
        scores = {}
        for name, process in servers.items():
            try:
                status, answer = process.call("POST", PATHS[name], body)
            except OSError as error:
                status, answer = "no answer", error
            if status != 200:
                sys.exit(f"error: {name} answered {body} with {status} {answer}\n{process.log_tail()}")
            scores[name] = [struct.pack("<f", score) for score in answer["outputs"]["score"]]
        if scores["floor"] != scores["terrarium"]:
            sys.exit(f"error: the servers do not agree on {body}: {scores}")


def drive_body(process, path, body, n_connections, seconds):
    with tempfile.NamedTemporaryFile("w", prefix="terrarium-bodies-") as file:
        file.write(json.dumps(body) + "\n")
        file.flush()
        os.environ["BODIES"] = file.name
        return drive(process, path, n_connections, seconds)


def drive(process, path, n_connections, seconds, script="dev/bench.lua"):
    command = ["wrk", "-t1", f"-c{n_connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script]
    outcome = subprocess.run([*command, f"http://{process.address}{path}"], capture_output=True, text=True)
    lines = [line for line in outcome.stdout.splitlines() if line.startswith("RESULT ")]
    if outcome.returncode != 0 or len(lines) != 1:
        sys.exit(f"error: wrk failed on {process.name}\n{outcome.stdout}{outcome.stderr}{process.log_tail()}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    if result["errors"] or not result["answers"]:
        sys.exit(f"error: {process.name} failed under load: {result}\n{process.log_tail()}")
    return result | {"rps": result["answers"] / result["microseconds"] * 1e6}


def check_audit(directory, n_answers):
    n_events = sum(sum(1 for _ in file.open("rb")) for file in directory.rglob("*.jsonl"))
    if n_events < n_answers:
        sys.exit(f"error: {n_answers} answers, but {n_events} audit events: a server that drops them is not worth measuring")


def print_machine(what):
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0].split(":", 1)[1].strip() if models else platform.machine()
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{what}; {os.cpu_count()} x {cpu}, load average {load}")


def print_table(rounds):
    print(f"\n{'connections':>11}  {'server':<10} {'p50 us':>8} {'p99 us':>8} {'requests/s':>11}")
    for n_connections, results in rounds.items():
        for name in PATHS:
            p50, p99, rps = (median(round_[name][key] for round_ in results) for key in ("p50", "p99", "rps"))
            print(f"{n_connections:>11}  {name:<10} {p50:>8.0f} {p99:>8.0f} {rps:>11.0f}")
        p50, p99, rps = (median_ratio(results, key) for key in ("p50", "p99", "rps"))
        print(f"{'':>11}  {'ratio':<10} {p50:>8.2f} {p99:>8.2f} {rps:>11.2f}")
    print("medians over the rounds; ratio: median of terrarium / floor within a round\n")


def median_ratio(rounds, key):
    return median(round_["terrarium"][key] / round_["floor"][key] for round_ in rounds)


def print_bar(name, ratio, sign, limit):
    """Rounded against us, so that what is printed and the verdict always agree."""
    ratio = (math.ceil if sign == "<=" else math.floor)(round(ratio * 100, 6)) / 100
    met = ratio <= limit if sign == "<=" else ratio >= limit
    print(f"bar {name} {ratio:.2f} {sign} {limit:.2f} {'ok' if met else 'short'}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: dev/bench.py TERRARIUM FLOOR REDIS")
    try:
        main(*sys.argv[1:])
    except server.Failed as failure:
        sys.exit(f"error: {failure}")
