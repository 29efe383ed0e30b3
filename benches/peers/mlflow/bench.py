"""Drives the real `mlflow models serve` and Terrarium side by side, then swaps versions under load. Run by dev/bench-peers, in
the repository root:

    bench.py TERRARIUM VENV WORK      WORK is an empty directory
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, "dev")

import bench as common
import server

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 1 if QUICK else 3))
ROUND_SECONDS = int(os.environ.get("ROUND_SECONDS", 5))
SWAP_SECONDS = int(os.environ.get("SWAP_SECONDS", 10 if QUICK else 60))
SWAPS = int(os.environ.get("SWAPS", 40 if QUICK else 200))
PARTS = os.environ.get("PARTS", "invocations,swap,memory").split(",")
CONNECTIONS = [1, 8, 32]
BAR_CONNECTIONS = 8
SWAP_EVERY_S, SWAP_CONNECTIONS = 2, 8
FIRST_SWAPS = 5  # memory is compared with that after so many
COLUMNS = ["x0", "x1", "x2", "x3"]
MODEL, ONES = "swapped", {"rows": [dict.fromkeys(COLUMNS, 1)]}
MEBIBYTE = 1 << 20

# Model, body of a row, bar for requests/s against MLflow's at 8 connections.
KINDS = {
    "columns": (lambda row: {"dataframe_split": {"columns": COLUMNS, "data": [row]}}, 40),
    "tensor": (lambda row: {"inputs": [row]}, 20),
}


def main(terrarium, venv, work):
    work = Path(work)
    common.print_machine(f"{ROUNDS} rounds of {ROUND_SECONDS} s for each server, one row a request")
    if "invocations" in PARTS:
        python(venv, "save", work)
        print_invocations({kind: invocations(terrarium, venv, work, kind) for kind in KINDS})
    if "swap" in PARTS or "memory" in PARTS:
        with mlflow_server(venv, work) as registry:
            python(venv, "register", f"http://{registry.address}")
            if "swap" in PARTS:
                swap(terrarium, registry, work / "swap")
            if "memory" in PARTS:
                memory(terrarium, registry, work / "memory")
    common.print_machine("afterwards")


def python(venv, *arguments):
    command = [f"{venv}/bin/python", "benches/peers/mlflow/models.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


class Group(server.Server):
    """A server that is several processes."""

    def __init__(self, name, command, ready, environment):
        # In a session of its own, so that all of it can be ended.
        super().__init__(name, lambda address: ["setsid", "--wait", *command(address)], ready, lambda _: environment)

    def stop(self):
        for pid in descendants(self.process.pid)[::-1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


def descendants(parent):
    """A process and all that it started, the oldest first."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(text.split()[0]))
    found = [parent]
    for pid in found:
        found += children.get(pid, [])
    return found


def python_path(venv):
    """`mlflow` starts `uvicorn` by its bare name."""
    return {"PATH": f"{venv}/bin{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}


# ---- /invocations


def invocations(terrarium, venv, work, kind):
    """Connections -> one dict a round: server -> result. The servers take turns, and the first one changes."""
    make, _ = KINDS[kind]
    chosen = random.Random(7)
    bodies = [make([round(chosen.uniform(-100, 100), 3) for _ in COLUMNS]) for _ in range(500)]
    n_workers = os.cpu_count()
    serve = [f"{venv}/bin/mlflow", "models", "serve", "-m", work / "models" / kind / "1", "--env-manager", "local", "-w", str(n_workers)]
    peer = Group("mlflow", lambda address: [*serve, *host_and_port(address)], "/ping", python_path(venv))
    # Beside the checkout and not in /tmp, which may be memory: the audit trail is to be written to a disk.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".terrarium") as audit, peer:
        settings = {"TERRARIUM__REGISTRY__LOCAL__PATH": str(work / "models"), "TERRARIUM__FEATURES__REPO": ""}
        with server.terrarium(terrarium, audit, settings) as own:
            servers = {"mlflow": (peer, "/invocations"), "terrarium": (own, f"/models/{kind}/invocations")}
            check(servers, bodies[:50])
            print(f"mlflow models serve with {n_workers} workers")
            with tempfile.NamedTemporaryFile("w", prefix="bench-bodies-") as file:
                file.write("".join(json.dumps(body) + "\n" for body in bodies))
                file.flush()
                os.environ["BODIES"] = file.name
                return {n: rounds(servers, kind, n) for n in CONNECTIONS}


def host_and_port(address):
    host, port = address.split(":")
    return ["-h", host, "-p", port]


def rounds(servers, kind, n_connections):
    print(f"{kind}, {n_connections} connections", end="", flush=True)
    for process, path in servers.values():
        common.drive(process, path, n_connections, 2)
    results = []
    for number in range(ROUNDS):
        order = list(servers) if number % 2 == 0 else list(servers)[::-1]
        results.append({who: common.drive(*servers[who], n_connections, ROUND_SECONDS) for who in order})
        print(" .", end="", flush=True)
    print()
    return results


def check(servers, bodies):
    """Both answer the same, or there is nothing to compare."""
    for body in bodies:
        answers = {}
        for name, (process, path) in servers.items():
            status, answers[name] = process.call("POST", path, body)
            if status != 200:
                sys.exit(f"error: {name} answered {body} with {status} {answers[name]}\n{process.log_tail()}")
        if answers["mlflow"] != answers["terrarium"]:
            sys.exit(f"error: the servers do not agree on {body}: {answers}")


def print_invocations(results):
    print("\n| body | connections | server | requests/s | p50 ms | p99 ms |")
    print("|---|---:|---|---:|---:|---:|")
    for kind, by_connections in results.items():
        for n_connections, rounds_ in by_connections.items():
            for who in ("mlflow", "terrarium"):
                rps, p50, p99 = (median(round_[who][key] for round_ in rounds_) for key in ("rps", "p50", "p99"))
                print(f"| {kind} | {n_connections} | {who} | {rps:.0f} | {p50 / 1000:.2f} | {p99 / 1000:.2f} |")
    print("\nmedians over the rounds; bars: medians of the ratios within a round\n")
    for kind, (_, bar) in KINDS.items():
        ratio = median(round_["terrarium"]["rps"] / round_["mlflow"]["rps"] for round_ in results[kind][BAR_CONNECTIONS])
        common.print_bar(f"mlflow_{kind}_rps", ratio, ">=", bar)
    print()


# ---- versions that change


def mlflow_server(venv, work):
    """A tracking server: SQLite, artifacts through its proxy."""
    place = work / "mlflow"
    place.mkdir()
    stores = ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--artifacts-destination", str(place / "artifacts")]
    start = [f"{venv}/bin/mlflow", "server", "--workers", "1", *stores]
    # Without it seven more processes start, for jobs of MLflow's own, and share the cores with what is measured.
    no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Group("mlflow", lambda address: [*start, *host_and_port(address)], "/health", python_path(venv) | no_jobs)


def swapping(terrarium, registry, directory):
    """Terrarium on that server. Nothing of the version before is kept, so that each swap loads anew."""
    directory.mkdir()
    settings = {
        "TERRARIUM__REGISTRY__MLFLOW__URI": f"http://{registry.address}",
        "TERRARIUM__REGISTRY__MLFLOW__POLL": "200ms",
        "TERRARIUM__REGISTRY__MLFLOW__CACHE": str(directory / "cache"),
        "TERRARIUM__SERVING__KEEP_PREVIOUS": "0s",
        "TERRARIUM__FEATURES__REPO": "",
    }
    return server.terrarium(terrarium, directory / "audit", settings)


def set_alias(registry, version):
    write(registry, "registered-models/alias", {"name": MODEL, "alias": "champion", "version": str(version)})


def set_tag(registry, version):
    """Nothing that anyone looks at, and as much work for the registry."""
    write(registry, "experiments/set-experiment-tag", {"experiment_id": "0", "key": "n", "value": str(version)})


def write(registry, path, body):
    status, answer = registry.call("POST", f"/api/2.0/mlflow/{path}", body)
    if status != 200:
        sys.exit(f"error: mlflow answered {status} {answer}\n{registry.log_tail()}")


def await_version(own, version):
    """Returns once the server says that it serves the version."""
    deadline = time.monotonic() + 30
    while own.call("GET", f"/v1/models/{MODEL}")[1]["serving"]["version"] != str(version):
        if time.monotonic() > deadline:
            sys.exit(f"error: version {version} does not go live\n{own.log_tail()}")
        time.sleep(0.005)


class Swapper:
    """Moves the alias every two seconds until it is told to stop, and asks between two moves, once the swap was reported.

    Without `moves` it writes and asks as often and nothing moves, so that registry and questions cost both loads the same."""

    def __init__(self, own, registry, moves):
        self.own, self.registry, self.moves = own, registry, moves
        self.n_swaps = self.n_asked = self.n_wrong = 0
        self.trouble = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def run(self):
        version = 1
        try:
            while not self.stopping.is_set():
                began = time.monotonic()
                if self.moves:
                    version = 3 - version
                    set_alias(self.registry, version)
                    await_version(self.own, version)
                    self.n_swaps += 1
                else:
                    set_tag(self.registry, version)
                while time.monotonic() < began + SWAP_EVERY_S:
                    _, answer = self.own.call("POST", f"/v1/models/{MODEL}/predict", ONES)
                    self.n_asked += 1
                    self.n_wrong += answer.get("model", {}).get("version") != str(version)
                    time.sleep(0.01)
        except (OSError, SystemExit) as error:
            self.trouble = error


def swap(terrarium, registry, directory):
    with swapping(terrarium, registry, directory) as own:
        check_versions(own, registry)
        load(own, 5)
        with Swapper(own, registry, moves=False) as waiter:
            still = load(own, SWAP_SECONDS)
        with Swapper(own, registry, moves=True) as swapper:
            moving = load(own, SWAP_SECONDS)
    for trouble in filter(None, [waiter.trouble, swapper.trouble]):
        sys.exit(f"error: {trouble}\n{own.log_tail()}")
    print("| load | answers | failed | of another version than they say | p50 ms | p99 ms |")
    print("|---|---:|---:|---:|---:|---:|")
    for what, result in [("no swaps", still), (f"{swapper.n_swaps} swaps in {SWAP_SECONDS} s", moving)]:
        print(f"| {what} | {result['answers']} | {result['errors']} | {result['wrong']} | {result['p50'] / 1000:.2f} | {result['p99'] / 1000:.2f} |")
    print(f"\nasked {swapper.n_asked} times after a reported swap: {swapper.n_wrong} answers of another version\n")
    common.print_bar("swap_failed", moving["errors"], "<=", 0)
    common.print_bar("swap_wrong_version", moving["wrong"] + waiter.n_wrong + swapper.n_wrong, "<=", 0)
    common.print_bar("swap_p99", moving["p99"] / still["p99"], "<=", 1.3)
    print()


def check_versions(own, registry):
    """Version N answers N, or the rest means nothing."""
    for version in (2, 1):
        set_alias(registry, version)
        await_version(own, version)
        _, answer = own.call("POST", f"/v1/models/{MODEL}/predict", ONES)
        if answer["outputs"]["variable"] != [version]:
            sys.exit(f"error: version {version} answered {answer}")


def load(own, seconds):
    command = ["wrk", "-t1", f"-c{SWAP_CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", "benches/peers/mlflow/swap.lua"]
    url = f"http://{own.address}/v1/models/{MODEL}/predict"
    done = subprocess.run([*command, url], capture_output=True, text=True, env=os.environ | {"BODY": json.dumps(ONES)})
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode != 0 or len(lines) != 1:
        sys.exit(f"error: wrk failed\n{done.stdout}{done.stderr}{own.log_tail()}")
    return json.loads(lines[0].removeprefix("RESULT "))


def memory(terrarium, registry, directory):
    """Resident memory at rest after a few swaps and after many."""
    resident = {}
    with swapping(terrarium, registry, directory) as own:
        check_versions(own, registry)
        for number in range(1, SWAPS + 1):
            version = 1 + number % 2
            set_alias(registry, version)
            await_version(own, version)
            own.call("POST", f"/v1/models/{MODEL}/predict", ONES)
            if number in (FIRST_SWAPS, SWAPS):
                time.sleep(3)  # for what is freed off the request path
                resident[number] = resident_memory(own.process.pid)
    first, last = resident[FIRST_SWAPS], resident[SWAPS]
    print(f"resident memory after {FIRST_SWAPS} swaps {first / MEBIBYTE:.1f} MiB, after {SWAPS} {last / MEBIBYTE:.1f} MiB\n")
    common.print_bar("swap_memory", last / first, "<=", 1.2)
    print()


def resident_memory(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: bench.py TERRARIUM VENV WORK")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(*sys.argv[1:])
    except server.Failed as failure:
        sys.exit(f"error: {failure}")
