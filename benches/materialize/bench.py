"""Materialize into Redis: Terrarium, the raw pipelined HSET of the same bytes and, with --feast, Feast itself.

    bench.py TERRARIUM HSET PYTHON HOST:PORT [--feast]

PYTHON is one that has Feast, which applies the definitions. Rows/s of the whole command, from start to exit; peak memory is
the process's own high-water mark. Sizes: ROWS (1,000,000) and 5 times that, the larger one with as many rows again that are
older. The database 0 of the Redis is emptied before each turn.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
PROJECT = "bench"
RANGE = ("2026-09-01T00:00:00", "2026-12-01T00:00:00")


def redis(address, *words):
    """One command; an answer of one line, or of a hash as a dictionary."""
    host, port = address.rsplit(":", 1)
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    with socket.create_connection((host, int(port)), 600) as connection:
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        lines = connection.makefile("rb")
        first = lines.readline().strip()
        if not first.startswith(b"*"):
            return first[1:].decode()
        items = []
        for _ in range(int(first[1:])):
            length = int(lines.readline()[1:])
            items.append(lines.read(length + 2)[:-2])
        return dict(zip(items[::2], items[1::2]))


def timed(command, directory, environment):
    """Seconds and peak MB of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {command[0]} failed:\n{output.decode()}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def key(driver_id):
    header = b"".join(n.to_bytes(4, "little") for n in (1, 2, 9)) + b"driver_id"
    return header + (4).to_bytes(4, "little") + (8).to_bytes(4, "little") + driver_id.to_bytes(8, "little") + PROJECT.encode()


def main():
    terrarium, hset, python, address = (os.path.abspath(word) if os.path.exists(word) else word for word in sys.argv[1:5])
    with_feast = "--feast" in sys.argv[5:]
    n = int(os.environ.get("ROWS", "1000000"))
    with tempfile.TemporaryDirectory(prefix="terrarium-materialize.") as directory:
        repo = pathlib.Path(directory, "feature_repo")
        shutil.copytree(HERE / "feature_repo", repo)
        (repo / "feature_store.yaml").write_text(
            f"project: {PROJECT}\nprovider: local\nregistry: registry.db\nonline_store:\n  type: redis\n"
            f"  connection_string: {address}\noffline_store:\n  type: file\nentity_key_serialization_version: 3\n"
        )
        environment = dict(os.environ, TZ="UTC", FEAST_USAGE="False")
        feast = str(pathlib.Path(python).with_name("feast"))
        subprocess.run([python, HERE / "generate.py", str(n), repo / "stats.parquet"], check=True)
        subprocess.run([feast, "apply"], cwd=repo, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        rows = []

        def report(name, n_rows, seconds, megabytes):
            rows.append((name, n_rows, seconds, n_rows / seconds, megabytes))
            memory = f"{megabytes:6.0f} MB" if megabytes else ""
            print(f"{name:<34} {n_rows:>10,} rows {seconds:8.2f} s {n_rows / seconds:>10,.0f} rows/s {memory}", flush=True)
            return n_rows / seconds

        def ours(name, n_rows):
            redis(address, "FLUSHDB")
            command = [terrarium, "features", "materialize", *(moment + "Z" for moment in RANGE), "--json"]
            seconds, megabytes = timed(command, directory, environment)
            if int(redis(address, "DBSIZE")) != n_rows:
                sys.exit("error: not every entity key is in Redis")
            return report(name, n_rows, seconds, megabytes)

        redis(address, "FLUSHDB")
        raw = float(subprocess.run([hset, address, str(n), PROJECT], check=True, capture_output=True, text=True).stdout)
        floor = report("raw pipelined HSET", n, raw, 0)
        sample = key(n // 3)
        expected = redis(address, "HGETALL", sample)
        rate = ours("terrarium", n)
        if redis(address, "HGETALL", sample) != expected:
            sys.exit("error: the floor and terrarium wrote different bytes")
        seconds, megabytes = timed(
            [terrarium, "features", "materialize", *(moment + "Z" for moment in RANGE), "--json"], directory, environment
        )
        report("terrarium, all rows there already", n, seconds, megabytes)
        if with_feast:
            redis(address, "FLUSHDB")
            seconds, megabytes = timed([feast, "materialize", *RANGE], repo, environment)
            theirs = report("feast materialize", n, seconds, megabytes)
            print(f"terrarium / feast: {rate / theirs:.1f} (bar: 10)")
        print(f"terrarium / raw:   {rate / floor:.2f} (bar: 0.50)")
        subprocess.run([python, HERE / "generate.py", str(5 * n), repo / "stats.parquet", str(5 * n)], check=True)
        ours("terrarium, as many older rows", 5 * n)
        peak = max(megabytes for name, *_, megabytes in rows if name.startswith("terrarium"))
        print(f"peak memory:       {peak:.0f} MB (bar: 300)")
        redis(address, "FLUSHDB")


main()
