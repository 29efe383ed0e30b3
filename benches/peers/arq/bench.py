#!/usr/bin/env python3
"""A Terrarium worker and a real arq worker on the same Redis, in turns: jobs per second, and how long one job takes.

    bench.py BINARY REDIS DIRECTORY        run by dev/bench-peers, in .terrarium/venv-arq-peer, in the repository root

Jobs are written in arq's own format before the clock starts and put into the queue of a worker that waits for them, so that
what is measured is the worker. Both run one process. arq has the settings that are fastest for it
(`max_jobs` 100, `poll_delay` 0.01, results kept, logging off), and its `predict` reads features with Feast and runs the model with
ONNX Runtime; both read them from another database of that Redis, and must give the same scores.
"""

import asyncio
import http.client
import json
import os
import pickle
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import redis
from arq import create_pool
from arq.connections import RedisSettings

BINARY, ADDRESS, WORK = sys.argv[1], sys.argv[2], Path(sys.argv[3])
HOST, PORT = ADDRESS.rsplit(":", 1)
DATABASE, FEATURES_DATABASE = 11, 12
URL = f"redis://{HOST}:{PORT}/{DATABASE}"
FEATURES = {"TERRARIUM_REDIS": f"{ADDRESS},db={FEATURES_DATABASE}", "TERRARIUM__FEATURES__FEATURE_STORE_YAML": "feature_store.redis.yaml"}
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS", "1" if QUICK else "3"))
JOBS = int(os.environ.get("JOBS", "5000" if QUICK else "20000"))
ARQ_JOBS = int(os.environ.get("ARQ_JOBS", "1000" if QUICK else "3000"))
SAMPLES = 30 if QUICK else 200
BACKLOG_JOBS = 5_000 if QUICK else 40_000
QUEUED = int(os.environ.get("QUEUED", "100000" if QUICK else "1000000"))
REQUEST = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}
CALLS = {"no-op": ("ping", ()), "predict": ("predict", ("driver_ranking", REQUEST))}


def client():
    return redis.Redis(host=HOST, port=int(PORT), db=DATABASE)


class Process:
    """A worker process, its output kept in a file."""

    def __init__(self, name, command, environment):
        self.log = WORK / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)

    def __enter__(self):
        deadline = time.monotonic() + 60
        while not client().exists("arq:queue:health-check"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"a worker does not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.005)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        client().delete("arq:queue:health-check")


def ours(name="terrarium", command="worker", **settings):
    environment = {"TERRARIUM__JOBS__REDIS__URL": URL, "TERRARIUM__LOG__FILTER": "warn",
                   "TERRARIUM__AUDIT__FILE__DIRECTORY": str(WORK / "audit")} | settings
    return Process(name, [BINARY, command], FEATURES | environment)


def theirs(poll_delay=0.01):
    worker = [sys.executable, "-m", "arq", "arq_worker.Settings"]
    environment = {"PYTHONPATH": str(Path(__file__).parent), "BENCH_REDIS": URL, "BENCH_POLL": str(poll_delay)}
    return Process("arq", worker, FEATURES | environment)


def write(n, call, prefix="job"):
    """Jobs as arq's client writes them, not in the queue yet; their ids."""
    function, arguments = CALLS[call]
    body = pickle.dumps({"t": None, "f": function, "a": arguments, "k": {}, "et": int(time.time() * 1000)})
    ids = [f"{prefix}-{i}" for i in range(n)]
    for first in range(0, n, 5000):
        batch = client().pipeline(transaction=False)
        for id in ids[first : first + 5000]:
            batch.psetex(f"arq:job:{id}", 86_400_000, body)
        batch.execute()
    return ids


def put(ids):
    now = int(time.time() * 1000)
    for first in range(0, len(ids), 5000):
        client().zadd("arq:queue", {id: now for id in ids[first : first + 5000]})


def enqueue(n, call, prefix="job"):
    put(write(n, call, prefix))


def drain(worker, call, n):
    """Jobs per second from the moment at which they are all in the queue of a worker that waits."""
    c = client()
    c.flushdb()
    with worker():
        enqueue(1, call, "warm-up")
        wait_for_empty(c)
        ids = write(n, call)
        c.config_resetstat()
        start = time.perf_counter()
        put(ids)
        wait_for_empty(c)
        seconds = time.perf_counter() - start
        scripts = sum(value["calls"] for name, value in c.info("commandstats").items() if name.startswith("cmdstat_eval"))
    results = [pickle.loads(c.get(f"arq:result:{id}")) for id in random.sample(ids, 20)]
    assert all(result["s"] for result in results), results
    return n / seconds, scripts / n, results[0]["r"]


def outputs(result):
    return result and result["outputs"]


def wait_for_empty(c, left=0):
    while c.zcard("arq:queue") > left:
        time.sleep(0.002)


def latency(call, ask):
    samples = []
    for _ in range(SAMPLES):
        time.sleep(0.02 + random.random() * 0.05)
        start = time.perf_counter()
        ask(call)
        samples.append((time.perf_counter() - start) * 1000)
    samples.sort()
    return samples[len(samples) // 2], samples[int(len(samples) * 0.99)]


def python_latency(call):
    function, arguments = CALLS[call]

    async def run():
        pool = await create_pool(RedisSettings.from_dsn(URL))
        samples = []
        for _ in range(SAMPLES):
            await asyncio.sleep(0.02 + random.random() * 0.05)
            start = time.perf_counter()
            job = await pool.enqueue_job(function, *arguments)
            await job.result(timeout=30, poll_delay=0.02)
            samples.append((time.perf_counter() - start) * 1000)
        samples.sort()
        return samples[len(samples) // 2], samples[int(len(samples) * 0.99)]

    return asyncio.run(run())


def http_latency(address):
    connection = http.client.HTTPConnection(address)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = json.dumps(REQUEST)

    def call(method, path, body=None):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    def ask(_):
        job = call("POST", "/v1/models/driver_ranking/jobs", body)
        answer = call("GET", f"/v1/jobs/{job['id']}?wait=30s")
        assert answer["success"], answer

    return latency("predict", ask)


def show(name, *values):
    print(f"{name:<46}" + "".join(f"{value:>14}" for value in values), flush=True)


def median(values):
    return statistics.median(values)


def throughput():
    show("jobs/s, one worker process", "terrarium", "arq", "ratio", "scripts/job")
    for call in CALLS:
        mine, other, per_job = [], [], 0.0
        for _ in range(ROUNDS):
            rate, per_job, result = drain(ours, call, JOBS)
            mine.append(rate)
            rate, _, expected = drain(theirs, call, ARQ_JOBS)
            other.append(rate)
            assert outputs(result) == outputs(expected), (result, expected)
        show(call, f"{median(mine):.0f}", f"{median(other):.0f}", f"{median(mine) / median(other):.1f}x", f"{per_job:.3f}")


def backlog():
    """What a job costs the server, from its claim to its result, with ever more jobs behind it."""
    show("no-op jobs queued behind", "jobs/s", "scripts, us/job", "scripts")
    c = client()
    for queued in (QUEUED // 100, QUEUED // 10, QUEUED):
        c.flushdb()
        enqueue(queued + BACKLOG_JOBS, "no-op")
        rest(c)
        with ours():
            wait_for_empty(c, left=queued + BACKLOG_JOBS * 9 // 10)
            c.config_resetstat()
            start, at = time.perf_counter(), c.zcard("arq:queue")
            wait_for_empty(c, left=queued + BACKLOG_JOBS // 10)
            rate = (at - c.zcard("arq:queue")) / (time.perf_counter() - start)
            n_jobs = at - c.zcard("arq:queue")
            scripts = c.info("commandstats")["cmdstat_evalsha"]
            c.delete("arq:queue")
        show(f"{queued}", f"{rate:.0f}", f"{scripts['usec'] / n_jobs:.1f}", f"{scripts['calls']}")


def rest(c):
    """Has Redis grow its table of keys now and not while it is measured: it doubles at a power of two, bucket by bucket. Twenty
    milliseconds for a thousand keys are several times as long as it takes when idle."""
    for first in range(0, QUEUED // 5, 5000):
        c.mset({f"filler-{i}": "" for i in range(first, first + 5000)})
    time.sleep(c.dbsize() / 50_000)


def idle():
    show("idle, enqueue to result, ms", "p50", "p99")
    client().flushdb()
    port = free_port()
    listen = {"TERRARIUM__HTTP__LISTEN": f"127.0.0.1:{port}", "TERRARIUM__HTTP__GRPC_LISTEN": ""}
    with ours("terrarium-serve", "serve", **listen):
        for call in CALLS:
            show(f"terrarium, stock client, {call}", *(f"{ms:.2f}" for ms in python_latency(call)))
        show("terrarium, POST jobs and GET ?wait, predict", *(f"{ms:.2f}" for ms in http_latency(f"127.0.0.1:{port}")))
    for poll_delay in (0.5, 0.01):
        client().flushdb()
        with theirs(poll_delay):
            show(f"arq, poll_delay={poll_delay}, stock client, no-op", *(f"{ms:.2f}" for ms in python_latency("no-op")))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    parts = os.environ.get("PARTS", "throughput,idle,backlog").split(",")
    try:
        for part in parts:
            {"throughput": throughput, "idle": idle, "backlog": backlog}[part]()
    finally:
        client().flushdb()
