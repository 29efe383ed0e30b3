"""Workers that die, and a Redis that comes and goes: every job has exactly one result, and none is lost.

ARQ_KILLS=100      how often a worker is killed; 6 without it
"""

import asyncio
import os
import random
import time

import pytest
from arq.jobs import Job, ResultNotFound
from codecs_of_arq import CODECS
from redis.exceptions import RedisError
from redis_process import RedisServer

KILLS = int(os.environ.get("ARQ_KILLS", "6"))
REQUEST = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}
IMPATIENT = {"LEASE": "1s", "WORKER__CONCURRENCY": 8, "WORKER__TRIES": 100}


class Load:
    """Enqueues jobs for as long as trouble is made, then waits for all of them."""

    def __init__(self, url):
        self.url, self.ids, self.stop = url, [], False

    async def run(self, trouble):
        pool = await CODECS["pickle"].pool(self.url)
        making = asyncio.create_task(asyncio.to_thread(trouble))
        while not making.done():
            if await self.enqueue(pool, f"job-{len(self.ids)}"):
                self.ids.append(f"job-{len(self.ids)}")
            else:
                await asyncio.sleep(0.05)
            if len(self.ids) % 20 == 0:
                await asyncio.sleep(0.01)
        await making
        return await self.results(pool)

    async def enqueue(self, pool, id):
        """Whether it is in the queue, or was; while Redis is away nobody knows, and the same id is tried again."""
        try:
            job = await pool.enqueue_job("predict", "driver_ranking", REQUEST, _job_id=id)
            # arq takes a connection that breaks in its transaction for a duplicate.
            return bool(job or await pool.exists(f"arq:job:{id}", f"arq:result:{id}"))
        except (OSError, RedisError):
            return False

    async def results(self, pool):
        """(id -> try) of every job, once all have ended."""
        tries = {}
        for id in self.ids:
            job = Job(id, pool)
            try:
                answer = await job.result(timeout=120, poll_delay=0.05)
            except ResultNotFound:
                left = [key.decode() for key in await pool.keys(f"*:{id}")]
                pytest.fail(f"{id} of {len(self.ids)} is lost; left are {left}")
            assert answer["n_rows"] == 1
            tries[id] = (await job.result_info()).job_try
        assert await pool.queued_jobs() == []
        assert await pool.keys("arq:in-progress:*") == []
        return tries


def test_workers_are_killed_at_random_moments(start_worker, redis_url):
    randomness = random.Random(20261123)

    def trouble():
        workers = [start_worker(f"worker-{i}", **IMPATIENT) for i in range(2)]
        for kill in range(KILLS):
            time.sleep(randomness.uniform(0.3, 0.9))
            victim = kill % 2
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = start_worker(f"worker-{kill}-again", **IMPATIENT)

    load = Load(redis_url)
    tries = asyncio.run(load.run(trouble))
    assert set(tries) == set(load.ids)
    assert len(load.ids) > 20 * KILLS
    assert max(tries.values()) > 1, "no job was interrupted"


def test_a_worker_that_is_told_to_stop_hands_back_what_it_has_not_done(start_worker, redis_url):
    def trouble():
        first = start_worker("first", **IMPATIENT)
        time.sleep(1.5)
        second = start_worker("second", **IMPATIENT)
        first.terminate()
        assert first.wait(timeout=30) == 0
        time.sleep(1)
        assert second.poll() is None

    tries = asyncio.run(Load(redis_url).run(trouble))
    assert set(tries.values()) == {1}


@pytest.fixture
def durable_redis(tmp_path):
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def test_redis_restarts_and_its_connections_are_killed(durable_redis, demo, tmp_path):
    import signal
    import subprocess

    from conftest import binary, jobs_in

    def start(name):
        environment = os.environ | jobs_in(durable_redis.url, tmp_path / name, **IMPATIENT)
        log = (tmp_path / f"{name}.log").open("ab")
        return subprocess.Popen([binary(), "worker"], cwd=demo, env=environment, stdout=log, stderr=log)

    workers = []

    def trouble():
        workers.extend(start(f"worker-{i}") for i in range(2))
        time.sleep(1.5)
        for _ in range(max(2, KILLS // 10)):
            durable_redis.client().execute_command("CLIENT", "KILL", "TYPE", "normal")
            time.sleep(0.5)
            durable_redis.kill()
            time.sleep(0.3)
            durable_redis.start()
            time.sleep(1)

    try:
        load = Load(durable_redis.url)
        tries = asyncio.run(load.run(trouble))
        assert set(tries) == set(load.ids)
        assert all(worker.poll() is None for worker in workers), "a worker died with Redis"
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(timeout=40)
