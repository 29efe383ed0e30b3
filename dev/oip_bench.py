#!/usr/bin/env python3
"""The Open Inference Protocol beside servers that give back the same bytes, over HTTP and over gRPC. Run by dev/bench, in the
repository root.

    dev/oip_bench.py TERRARIUM ECHO GRPC_LOAD      three binaries; the last two are of benches/floor
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from statistics import median

import bench as common
import oip
import server

CONNECTIONS = [1, 8, 64]
PROTOCOLS = {"http": "axum echo", "grpc": "tonic echo"}


def main(terrarium, echo, grpc_load):
    common.print_machine(f"open inference protocol, one row as bytes: {common.ROUNDS} rounds of {common.ROUND_SECONDS} s for each server")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".terrarium") as directory:
        work = Path(directory)
        (work / "message").write_bytes(oip.message())
        body, n_head = oip.binary_body()
        (work / "body").write_bytes(body)
        os.environ |= {"BODY": str(work / "body"), "HEADER_LENGTH": str(n_head)}
        grpc = {name: f"127.0.0.1:{server.free_port()}" for name in ("terrarium", "echo")}
        settings = {
            "TERRARIUM__REGISTRY__LOCAL__PATH": oip.registry(work / "models"),
            "TERRARIUM__FEATURES__REPO": "",
            "TERRARIUM__HTTP__GRPC_LISTEN": grpc["terrarium"],
        }
        echo_server = server.Server("echo", lambda address: [echo, address, grpc["echo"]], "/healthz")
        with echo_server, server.terrarium(terrarium, work / "audit", settings) as own:
            servers = {"terrarium": (own, oip.PATH), "echo": (echo_server, "/echo")}
            drive = {
                "http": lambda name, n, seconds: common.drive(*servers[name], n, seconds, "dev/binary.lua"),
                "grpc": lambda name, n, seconds: drive_grpc(grpc_load, servers[name][0], grpc[name], work / "message", n, seconds),
            }
            check_answers(own, grpc_load, grpc["terrarium"], work)
            rounds = {protocol: {n: measure(drive[protocol], n) for n in CONNECTIONS} for protocol in PROTOCOLS}
    print("| protocol | connections | server | requests/s | p50 us | p99 us |\n|---|---:|---|---:|---:|---:|")
    for protocol, results in rounds.items():
        for n, turns in results.items():
            print_rows(protocol, n, turns)
    print()
    for protocol, results in rounds.items():
        for n in CONNECTIONS[1:]:
            common.print_bar(f"oip_{protocol}_rps_{n}conn", ratio(results[n]), ">=", 0.5)


def check_answers(own, grpc_load, grpc_address, work):
    """The three forms of the call have the same answer, or there is nothing to measure."""
    status, answer = own.call("POST", oip.PATH, oip.json_body())
    if status != 200:
        sys.exit(f"error: {status} {answer}\n{own.log_tail()}")
    values = next(output["data"] for output in answer["outputs"] if output["name"] == oip.OUTPUT)
    wanted = struct.pack(f"<{len(values)}f", *values)
    body, n_head = oip.binary_body()
    request = urllib.request.Request(f"http://{own.address}{oip.PATH}", body, {"Inference-Header-Content-Length": str(n_head)})
    with server.DIRECT.open(request, timeout=30) as response:
        as_bytes = response.read()
    as_message = bytes.fromhex(drive_grpc(grpc_load, own, grpc_address, work / "message", 1, 0.1)["answer"])
    if wanted not in as_bytes or wanted not in as_message:
        sys.exit(f"error: the forms of a call do not agree: {answer} {as_bytes} {as_message}")


def measure(drive, n_connections):
    for name in ("terrarium", "echo"):
        drive(name, n_connections, min(2, common.ROUND_SECONDS))
    turns = []
    for number in range(common.ROUNDS):
        order = ["terrarium", "echo"][:: 1 if number % 2 else -1]
        turns.append({name: drive(name, n_connections, common.ROUND_SECONDS) for name in order})
    return turns


def drive_grpc(grpc_load, process, address, message, n_connections, seconds):
    command = [grpc_load, address, oip.METHOD, str(message), str(n_connections), str(seconds)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        sys.exit(f"error: the load generator failed on {process.name}\n{outcome.stderr}{process.log_tail()}")
    result = json.loads(outcome.stdout.removeprefix("RESULT "))
    if result["errors"] or not result["answers"]:
        sys.exit(f"error: {process.name} failed under load: {result}\n{process.log_tail()}")
    return result | {"rps": result["answers"] / result["microseconds"] * 1e6}


def ratio(turns):
    return median(turn["terrarium"]["rps"] / turn["echo"]["rps"] for turn in turns)


def print_rows(protocol, n_connections, turns):
    for name, title in (("terrarium", "terrarium"), ("echo", PROTOCOLS[protocol])):
        rps, p50, p99 = (median(turn[name][key] for turn in turns) for key in ("rps", "p50", "p99"))
        print(f"| {protocol} | {n_connections} | {title} | {rps:.0f} | {p50:.0f} | {p99:.0f} |")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: dev/oip_bench.py TERRARIUM ECHO GRPC_LOAD")
    try:
        main(*sys.argv[1:])
    except server.Failed as failure:
        sys.exit(f"error: {failure}")
