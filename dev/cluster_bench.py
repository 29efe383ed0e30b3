"""How joins and batch scores scale in data: on one machine, and on a cluster of executors on this one.

    python dev/cluster_bench.py BINARY [--sources 1e6,3e6,1e7] [--entities 1e5,3e5,1e6] [--executors 0,1,2]

BINARY is a release build with the feature `cluster`. Without executors (0) the command does it itself. Each executor has one
core. Of `--repeat` runs the median is printed, as a row of Markdown; results are compared with those of one machine.
"""

import argparse
import contextlib
import hashlib
import itertools
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent
# 2026-11-15T12:30:00Z; statistics of a month, hour by hour.
TIME = 1_794_745_800_000_000
MONTH = 30 * 24 * 3600 * 1_000_000


def numbers(text):
    return [int(float(number)) for number in text.split(",")]


def write_source(path, n_rows, n_drivers):
    """Rows of the demo's `driver_hourly_stats`, in no order."""
    random = np.random.default_rng(n_rows)
    event = TIME - random.integers(0, MONTH, n_rows)
    columns = {
        "driver_id": random.integers(0, n_drivers, n_rows),
        "event_timestamp": pa.array(event, pa.timestamp("us", "UTC")),
        "created": pa.array(event + 60_000_000, pa.timestamp("us", "UTC")),
        "conv_rate": random.random(n_rows, np.float32),
        "acc_rate": random.random(n_rows, np.float32),
        "avg_daily_trips": random.integers(0, 1000, n_rows, np.int32),
    }
    pq.write_table(pa.table(columns), path, row_group_size=128 * 1024)


def write_entities(path, n_rows, n_drivers):
    random = np.random.default_rng(n_rows + 1)
    times = TIME - random.integers(0, MONTH, n_rows)
    columns = {
        "driver_id": random.integers(0, n_drivers, n_rows),
        "event_timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        "trip_km": random.random(n_rows) * 30,
    }
    pq.write_table(pa.table(columns), path)


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


@contextlib.contextmanager
def cluster(binary, directory, n_executors):
    """The settings of a client of it; none without executors."""
    if n_executors == 0:
        yield []
        return
    processes = []

    def start(name, text, *arguments):
        log = directory / f"{name}.log"
        with log.open("w") as out:
            process = subprocess.Popen([binary, *arguments], cwd=directory, stderr=out)
        processes.append(process)
        while text not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(f"{name} does not start: {log.read_text()}")
            time.sleep(0.05)

    scheduler = f"127.0.0.1:{free_port()}"
    try:
        start("scheduler", "scheduler at df://", "scheduler", "--bind", scheduler)
        for number in range(n_executors):
            start(
                f"executor-{number}",
                "Executor registration succeed",
                *["executor", "--scheduler", f"df://{scheduler}", "--vcores", "1"],
                *["--bind", f"127.0.0.1:{free_port()}", "--task-port", str(free_port())],
            )
        cluster = {"scheduler": f"df://{scheduler}", "staging": "staging", "partitions": 2 * n_executors}
        yield [text for key, value in cluster.items() for text in ("--set", f"offline.cluster.{key}={value}")]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def timed(command, directory):
    began = time.monotonic()
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--sources", type=numbers, default=numbers("1e6,3e6,1e7"))
    parser.add_argument("--entities", type=numbers, default=numbers("1e5,3e5,1e6"))
    parser.add_argument("--executors", type=numbers, default=numbers("0,1,2"))
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    with tempfile.TemporaryDirectory(prefix="terrarium-cluster-bench.") as directory:
        directory = pathlib.Path(directory)
        for part in ["feature_repo", "features", "models"]:
            shutil.copytree(ROOT / part, directory / part)
        if (ROOT / ".terrarium").exists():
            os.symlink(ROOT / ".terrarium", directory / ".terrarium")
        print("| source rows | entity rows | executors | join | score |\n|---|---|---|---|---|", flush=True)
        sums = {}
        sizes = itertools.product(arguments.sources, arguments.entities)
        for n_source, n_entities in sizes:
            n_drivers = max(n_source // 100, 1)
            write_source(directory / "features/driver_hourly_stats.parquet", n_source, n_drivers)
            write_entities(directory / "rows.parquet", n_entities, n_drivers)
            for n_executors in arguments.executors:
                with cluster(binary, directory, n_executors) as settings:
                    files = ["--entities", "rows.parquet", "--out"]
                    join = ["features", "historical", "--service", "driver_ranking_v1", *files, "joined.parquet"]
                    score = ["score", "--model", "driver_ranking:2", *files, "scored.parquet"]
                    took = [
                        statistics.median(
                            timed([binary, *settings, *command], directory) for _ in range(arguments.repeat)
                        )
                        for command in (join, score)
                    ]
                scored = hashlib.sha256((directory / "scored.parquet").read_bytes()).hexdigest()
                assert sums.setdefault((n_source, n_entities), scored) == scored, "the results differ"
                print(
                    f"| {n_source:,} | {n_entities:,} | {n_executors} | {took[0]:.2f} s | {took[1]:.2f} s |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
