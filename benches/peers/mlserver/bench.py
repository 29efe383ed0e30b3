"""Drives the real MLServer and Terrarium side by side with the same calls of the Open Inference Protocol on the same model, one row
each. Run by dev/bench-peers, in the repository root:

    bench.py TERRARIUM GRPC_LOAD VENV WORK      WORK is an empty directory

MLServer has no runtime for ONNX of its own; `onnx_model.py` is one. It runs the model in the server's process: with a pool of
worker processes (`parallel_workers`) a row takes longer to be handed over than to run, and MLServer answers less.
"""

import json
import os
import signal
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, "dev")

import bench as common
import oip
import oip_bench
import server

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 1 if QUICK else 3))
ROUND_SECONDS = int(os.environ.get("ROUND_SECONDS", 5))
CONNECTIONS = [1, 8, 32]
BAR_CONNECTIONS = 8
TOLERANCE = 1e-6
HERE = Path(__file__).parent


def main(terrarium, grpc_load, venv, work):
    work = Path(work)
    common.print_machine(f"mlserver: {ROUNDS} rounds of {ROUND_SECONDS} s for each server, one row a request")
    (work / "message").write_bytes(oip.message())
    grpc = {name: f"127.0.0.1:{server.free_port()}" for name in ("mlserver", "terrarium")}
    peer = server.Server(
        "mlserver",
        lambda address: [f"{venv}/bin/mlserver", "start", str(mlserver_settings(work / "mlserver", address, grpc["mlserver"]))],
        f"/v2/models/{oip.MODEL}/ready",
        lambda _: {"PYTHONPATH": str(HERE)},
    )
    settings = {
        "TERRARIUM__REGISTRY__LOCAL__PATH": oip.registry(work / "models"),
        "TERRARIUM__FEATURES__REPO": "",
        "TERRARIUM__HTTP__GRPC_LISTEN": grpc["terrarium"],
    }
    with peer, server.terrarium(terrarium, work / "audit", settings) as own:
        servers = {"mlserver": peer, "terrarium": own}
        check(servers)
        drive = {
            "json": lambda name, n, seconds: common.drive_body(servers[name], oip.PATH, oip.json_body(), n, seconds),
            "grpc": lambda name, n, seconds: oip_bench.drive_grpc(grpc_load, servers[name], grpc[name], work / "message", n, seconds),
        }
        rounds = {kind: {n: measure(drive[kind], n) for n in CONNECTIONS} for kind in drive}
    print("| call | connections | server | requests/s | p50 ms | p99 ms |\n|---|---:|---|---:|---:|---:|")
    for kind, results in rounds.items():
        for n, turns in results.items():
            for name in servers:
                rps, p50, p99 = (median(turn[name][key] for turn in turns) for key in ("rps", "p50", "p99"))
                print(f"| {kind} | {n} | {name} | {rps:.0f} | {p50 / 1000:.2f} | {p99 / 1000:.2f} |")
    print()
    for kind, results in rounds.items():
        ratio = median(turn["terrarium"]["rps"] / turn["mlserver"]["rps"] for turn in results[BAR_CONNECTIONS])
        common.print_bar(f"mlserver_{kind}_rps", ratio, ">=", 40)
    common.print_machine("afterwards")


def mlserver_settings(directory, address, grpc_address):
    """A directory that `mlserver start` takes."""
    directory.mkdir()
    settings = {
        "host": "127.0.0.1",
        "http_port": int(address.split(":")[1]),
        "grpc_port": int(grpc_address.split(":")[1]),
        "metrics_port": server.free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": oip.MODEL,
        "implementation": "onnx_model.OnnxModel",
        "parameters": {"uri": str(Path("benches/models/gbt.onnx").absolute()), "version": "1"},
    }
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "model-settings.json").write_text(json.dumps(model))
    return directory


def check(servers):
    """Both answer the same, or there is nothing to compare."""
    answers = {}
    for name, process in servers.items():
        status, answer = process.call("POST", oip.PATH, oip.json_body())
        if status != 200:
            sys.exit(f"error: {name}: {status} {answer}\n{process.log_tail()}")
        answers[name] = next(output["data"] for output in answer["outputs"] if output["name"] == oip.OUTPUT)
    if any(abs(one - other) > TOLERANCE for one, other in zip(*answers.values(), strict=True)):
        sys.exit(f"error: the servers do not agree: {answers}")


def measure(drive, n_connections):
    for name in ("mlserver", "terrarium"):
        drive(name, n_connections, min(2, ROUND_SECONDS))
    turns = []
    for number in range(ROUNDS):
        order = ["mlserver", "terrarium"][:: 1 if number % 2 else -1]
        turns.append({name: drive(name, n_connections, ROUND_SECONDS) for name in order})
    return turns


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("usage: bench.py TERRARIUM GRPC_LOAD VENV WORK")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(*sys.argv[1:])
    except server.Failed as failure:
        sys.exit(f"error: {failure}")
