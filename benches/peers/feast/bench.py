"""Drives the real `feast serve`, Terrarium and the floor servers side by side, on one Redis. Run by dev/bench-peers, in the
repository root:

    bench.py TERRARIUM FLOOR_DIRECTORY VENV REDIS WORK      WORK is what repository.py has made
"""

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, "dev")

import bench as common
import server
from load import SCENARIOS, SERVED, SERVED_DATABASE, SERVED_ENTITIES, WRITTEN_DATABASE, bodies, project
from resp import Redis

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", 1 if QUICK else 3))
ROUND_SECONDS = int(os.environ.get("ROUND_SECONDS", 5))
ROWS, ROWS_FEAST = int(os.environ["ROWS"]), int(os.environ["ROWS_FEAST"])
PARTS = os.environ.get("PARTS", "serve,materialize").split(",")
CONNECTIONS = [1, 8, 64]
BAR_CONNECTIONS = 8
PATH = "/get-online-features"
START, END = "2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z"
FEAST_START, FEAST_END = START.removesuffix("Z"), END.removesuffix("Z")
MEBIBYTE = 1 << 20


def main(terrarium, floor, venv, address, work):
    work = Path(work)
    common.print_machine(f"{ROUNDS} rounds of {ROUND_SECONDS} s for each server, {SERVED_ENTITIES} entities")
    if "serve" in PARTS:
        load(terrarium, address, work / "serve")
        serve(terrarium, floor, venv, address, work / "serve")
    if "materialize" in PARTS:
        materialize(terrarium, floor, venv, address, work / "write")
    common.print_machine("afterwards")


# ---- online features


def load(terrarium, address, repo):
    """The views that are read, by our own materialize."""
    redis = Redis(address, SERVED_DATABASE)
    redis.call("FLUSHDB")
    run_terrarium(terrarium, repo, "features", "materialize", START, END)
    count = redis.call("DBSIZE")
    if count != SERVED_ENTITIES:
        sys.exit(f"error: Redis holds {count} entities after materializing, not {SERVED_ENTITIES}")


def serve(terrarium, floor, venv, address, repo):
    n_workers = os.cpu_count()
    feast = [f"{venv}/bin/feast", "--chdir", repo, "serve", "--workers", str(n_workers), "--max-requests", "0", "--no-access-log"]
    feast_server = server.Server("feast", lambda listen: [*feast, *host_and_port(listen)], "/health")
    url = f"redis://{address}/{SERVED_DATABASE}"
    floor_server = server.Server("floor", lambda listen: [f"{floor}/features", listen, url, project(repo)], "/healthz")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".terrarium") as directory:
        own = server.terrarium(terrarium, f"{directory}/audit", terrarium_settings(repo, directory))
        with feast_server, floor_server, own:
            servers = {"feast": feast_server, "floor": floor_server, "terrarium": own}
            print(f"feast serve with {n_workers} workers\n")
            results = [(scenario, measure(servers, scenario)) for scenario in SCENARIOS]
    print_serving(results)


def host_and_port(address):
    host, port = address.split(":")
    return ["--host", host, "--port", port]


def measure(servers, scenario):
    """Connections -> one dict a round: server -> result. The servers take turns, and the first one changes."""
    name, features, n_entities, _ = scenario
    asked = list(bodies(features, n_entities))
    check(servers, asked[:20])
    results = {}
    with tempfile.NamedTemporaryFile("w", prefix="bench-bodies-") as file:
        file.write("".join(json.dumps(body) + "\n" for body in asked))
        file.flush()
        os.environ["BODIES"] = file.name
        for n_connections in CONNECTIONS:
            print(f"{name}, {n_connections} connections", end="", flush=True)
            results[n_connections] = []
            for number in range(ROUNDS):
                order = list(servers)[number % 3 :] + list(servers)[: number % 3]
                results[n_connections].append({who: drive(servers[who], n_connections) for who in order})
                print(" .", end="", flush=True)
            print()
    return results


def drive(process, n_connections):
    """One turn. It ends when the server rests: Feast still works on what wrk no longer waits for."""
    result = common.drive(process, PATH, n_connections, ROUND_SECONDS)
    before = -1
    while (now := cpu_time(process.process.pid)) != before:
        before = now
        time.sleep(0.2)
    return result


def cpu_time(parent):
    """Of a process and its children, in ticks, as far as they run; a server at rest has a timer or two."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        if int(text.split()[0]) == parent or int(fields[1]) == parent:
            total += int(fields[11]) + int(fields[12])
    return total


def check(servers, asked):
    """All three answer the same, or there is nothing to compare. Order of columns is free."""
    for body in asked:
        answers = {}
        for name, process in servers.items():
            status, answer = process.call("POST", PATH, body)
            if status != 200:
                sys.exit(f"error: {name} answered {status} {answer}\n{process.log_tail()}")
            answers[name] = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        for name, answer in answers.items():
            if answer != answers["feast"]:
                wrong = [f for f in answers["feast"] if answer.get(f) != answers["feast"][f]]
                sys.exit(f"error: {name} and feast do not agree on {wrong[:3]} of {body['entities']}: {answer.get(wrong[0])} {answers['feast'][wrong[0]]}")


def print_serving(results):
    print("\n| request | connections | server | requests/s | p50 ms | p99 ms |")
    print("|---|---:|---|---:|---:|---:|")
    for (name, *_), by_connections in results:
        for n_connections, rounds in by_connections.items():
            for who in ("feast", "floor", "terrarium"):
                rps, p50, p99 = (median(round_[who][key] for round_ in rounds) for key in ("rps", "p50", "p99"))
                print(f"| {name} | {n_connections} | {who} | {rps:.0f} | {p50 / 1000:.2f} | {p99 / 1000:.2f} |")
    print("\n| request | connections | requests/s to Feast's | to the floor's | p99 to p50 |")
    print("|---|---:|---:|---:|---:|")
    for (name, *_), by_connections in results:
        for n_connections, rounds in by_connections.items():
            feast, floor, tail = ratios(rounds)
            print(f"| {name} | {n_connections} | {feast:.1f} | {floor:.2f} | {tail:.1f} |")
    print("\nmedians over the rounds; ratios: medians of the ratios within a round\n")
    for (name, features, n_entities, bar), by_connections in results:
        feast, floor, tail = ratios(by_connections[BAR_CONNECTIONS])
        what = f"{len(features)}x{n_entities}"
        if bar:
            common.print_bar(f"feast_{what}_rps", feast, ">=", bar)
        common.print_bar(f"floor_{what}_rps", floor, ">=", 0.70)
        common.print_bar(f"tail_{what}_p99_p50", tail, "<=", 5)


def ratios(rounds):
    """Of Terrarium: requests/s to Feast's, requests/s to the floor's, p99 to p50."""
    ours = [round_["terrarium"] for round_ in rounds]
    to = {who: median(own["rps"] / round_[who]["rps"] for own, round_ in zip(ours, rounds, strict=True)) for who in ("feast", "floor")}
    return to["feast"], to["floor"], median(own["p99"] / own["p50"] for own in ours)


# ---- materialize


def materialize(terrarium, floor, venv, address, repo):
    """Each into an empty database: the raw writer and Terrarium in turns, Feast once."""
    redis = Redis(address, WRITTEN_DATABASE)
    raw, ours, peaks = [], [], []
    for _ in range(ROUNDS):
        redis.call("FLUSHDB")
        command = [f"{floor}/hset", address, str(WRITTEN_DATABASE), project(repo), "rows", str(ROWS)]
        raw.append(ROWS / float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        expected = sample(redis)
        redis.call("FLUSHDB")
        seconds, peak = run_terrarium(terrarium, repo, "features", "materialize", START, END, "--views", "rows")
        ours.append(ROWS / seconds)
        peaks.append(peak)
        if redis.call("DBSIZE") != ROWS or sample(redis) != expected:
            sys.exit("error: Terrarium and the raw writer did not write the same")
    redis.call("FLUSHDB")
    # What Feast takes before its first row, with no row in the range, is not held against it.
    empty = run_feast(venv, repo, "2020-01-01T00:00:00", "2020-01-02T00:00:00")
    feast = ROWS_FEAST / (run_feast(venv, repo, FEAST_START, FEAST_END) - empty)
    if redis.call("DBSIZE") != ROWS_FEAST:
        sys.exit("error: Feast did not write its rows")
    redis.call("FLUSHDB")
    peak = max(peaks)
    rate, raw_rate = median(ours), median(raw)
    print("\n| materialize to Redis, 3 features | rows | rows/s | peak memory MiB |")
    print("|---|---:|---:|---:|")
    print(f"| feast materialize | {ROWS_FEAST} | {feast:.0f} | |")
    print(f"| raw pipelined HSET | {ROWS} | {raw_rate:.0f} | |")
    print(f"| terrarium features materialize | {ROWS} | {rate:.0f} | {peak / MEBIBYTE:.0f} |")
    print(f"\nmedians of {ROUNDS} runs, of Feast one; Terrarium's with the start of the process, Feast's without\n")
    common.print_bar("materialize_feast_rows", rate / feast, ">=", 10)
    common.print_bar("materialize_raw_rows", rate / raw_rate, ">=", 0.5)
    common.print_bar("materialize_peak_mb", peak / 1e6, "<=", 300)


def sample(redis):
    """The hashes of some rows."""
    hashes = []
    for driver in (0, 1, ROWS // 2, ROWS - 1):
        values = redis.call("HGETALL", common.KEY_HEAD + struct.pack("<q", driver) + b"bench_write")
        hashes.append(dict(zip(values[::2], values[1::2], strict=True)))
    return hashes


def run_terrarium(binary, repo, *arguments):
    """(seconds, peak of resident memory in bytes). Fails if the command does."""
    settings = terrarium_settings(repo, repo)
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen([binary, *arguments], env=os.environ | settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_memory(process.pid))
            time.sleep(0.005)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            log.seek(0)
            sys.exit(f"error: terrarium {' '.join(arguments)} ended with {process.returncode}\n{log.read().decode(errors='replace')}")
    return seconds, peak


def peak_memory(pid):
    """VmHWM of a process, in bytes; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def run_feast(venv, repo, start, end):
    command = [f"{venv}/bin/feast", "--chdir", repo, "materialize", "--views", "rows_feast", start, end]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: feast materialize ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return time.monotonic() - started


def terrarium_settings(repo, directory):
    """The repository, and a model registry without models."""
    models = Path(directory) / "models"
    models.mkdir(parents=True, exist_ok=True)
    return {"TERRARIUM__FEATURES__REPO": str(repo), "TERRARIUM__REGISTRY__LOCAL__PATH": str(models)}


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: bench.py TERRARIUM FLOOR_DIRECTORY VENV REDIS WORK")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(*sys.argv[1:])
    except server.Failed as failure:
        sys.exit(f"error: {failure}")
