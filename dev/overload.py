#!/usr/bin/env python3
"""Asks Terrarium for four times what it can do. Run by dev/bench, in the repository root.

    dev/overload.py TERRARIUM OPEN_LOOP     two binaries; the load generator is benches/floor/src/bin/open_loop.rs
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bench as common
import server

SECONDS = int(os.environ.get("OVERLOAD_SECONDS", 30))
MODEL = "slow"  # some milliseconds a call: a queue forms at the engines, not at the sockets
PATH = f"/v1/models/{MODEL}/predict"
BODY = {"inputs": {"X": [[1] * 10]}}
CONNECTIONS = 256  # more than can be busy at once, or the generator would wait for the server
# As many may wait as run: a wait is then no longer than a run. Calls are not merged, so that capacity is a number.
SETTINGS = {
    "TERRARIUM__REGISTRY__LOCAL__PATH": "benches/models/registry",
    "TERRARIUM__FEATURES__REPO": "",
    "TERRARIUM__INFERENCE__MAX_WAITING": str(os.cpu_count()),
    "TERRARIUM__MODELS__SLOW__BATCHING__MODE": "off",
}


def main(terrarium, open_loop):
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".terrarium") as audit, server.terrarium(terrarium, audit, SETTINGS) as own:
        status, answer = own.call("POST", PATH, BODY)
        if status != 200:
            sys.exit(f"error: {status} {answer}\n{own.log_tail()}")
        capacity = common.drive_body(own, PATH, BODY, os.cpu_count(), 5)["rps"]
        calm = ask(open_loop, own, capacity / 5, 10)
        before = resident(own)
        flood = ask(open_loop, own, capacity * 4, SECONDS)
        after = resident(own)
        status, _ = own.call("POST", PATH, BODY)
    accepted, refused = flood["statuses"]["200"], flood["statuses"].get("429", {"n": 0, "p99": 0})
    others = sum(of["n"] for code, of in flood["statuses"].items() if code not in ("200", "429"))
    unanswered = flood["lost"] + flood["not_sent"] + others + (status != 200)
    print("\n| load | calls/s | answered | p50 ms | p99 ms | refused | p99 ms | otherwise |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    print_row("a fifth", capacity / 5, calm, 0)
    print_row(f"four times, {SECONDS} s", capacity * 4, flood, unanswered)
    print(f"\none caller for each core: {capacity:.0f} calls/s; resident memory {before:.1f} MiB before, {after:.1f} MiB after\n")
    common.print_bar("overload_accepted_p99", accepted["p99"] / calm["statuses"]["200"]["p99"], "<=", 3)
    common.print_bar("overload_refused_p99_ms", refused["p99"] / 1000, "<=", 5)
    common.print_bar("overload_unanswered", unanswered, "<=", 0)
    common.print_bar("overload_memory", after / before, "<=", 1.1)


def ask(open_loop, own, rate, seconds):
    command = [open_loop, own.address, PATH, json.dumps(BODY), f"{rate:.1f}", str(seconds), str(CONNECTIONS)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        sys.exit(f"error: the load generator failed\n{outcome.stderr}{own.log_tail()}")
    return json.loads(outcome.stdout)


def print_row(load, rate, result, otherwise):
    none = {"n": 0, "p50": 0, "p99": 0}
    accepted, refused = (result["statuses"].get(status, none) for status in ("200", "429"))
    print(f"| {load} | {rate:.0f} | {accepted['n']} | {accepted['p50'] / 1000:.2f} | {accepted['p99'] / 1000:.2f} | {refused['n']} | {refused['p99'] / 1000:.2f} | {otherwise} |")


def resident(own):
    status = Path(f"/proc/{own.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
