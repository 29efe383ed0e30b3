"""Our worker and a real arq worker on one queue: no job runs twice, none is lost, and each is answered once.

ARQ_JOBS=10000     how many jobs; 2,000 without it
"""

import asyncio
import collections
import contextlib
import json
import os

from conftest import jobs_in
from python_worker import python_worker
from terrarium_process import Terrarium

N_JOBS = int(os.environ.get("ARQ_JOBS", "2000"))
REQUEST = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}


def test_two_kinds_of_workers_share_a_queue(demo, redis_url, tmp_path, codec):
    ran = collections.Counter()

    async def predict(ctx, model, request, request_id=None):
        ran[ctx["job_id"]] += 1
        await asyncio.sleep(0)
        return {"by": "python"}

    def start_ours(stack):
        stack.enter_context(Terrarium(demo, jobs_in(redis_url, tmp_path, WORKER__CONCURRENCY=16)))

    async def ask(stack):
        pool = await codec.pool(redis_url)
        jobs = []

        async def enqueue(first):
            some = (pool.enqueue_job("predict", "driver_ranking", REQUEST, _job_id=f"job-{i}") for i in range(first, first + 100))
            jobs.extend(await asyncio.gather(*some))

        async with python_worker(redis_url, codec, functions=(predict,), max_jobs=50, queue_read_limit=500):
            # Ours is several times as fast, and must not have done everything before the other has begun.
            await enqueue(0)
            await jobs[0].result(timeout=300, poll_delay=0.05)
            await asyncio.to_thread(start_ours, stack)
            for first in range(100, N_JOBS, 100):
                await enqueue(first)
            answers = await asyncio.gather(*(job.result(timeout=300, poll_delay=0.25) for job in jobs))
        assert await pool.queued_jobs() == []
        left = [key.decode() for key in await pool.keys("arq:in-progress:*")] + [key.decode() for key in await pool.keys("arq:retry:*")]
        return answers, left

    with contextlib.ExitStack() as stack:
        answers, left = asyncio.run(ask(stack))
    for line in audit_lines(tmp_path / "audit"):
        ran[line["request_id"]] += 1
    assert len(answers) == N_JOBS
    assert left == []
    assert set(ran) == {f"job-{i}" for i in range(N_JOBS)}
    assert set(ran.values()) == {1}
    by_python = sum(answer.get("by") == "python" for answer in answers)
    assert 0 < by_python < N_JOBS, "one of the two did all the work"


def audit_lines(directory):
    for file in directory.rglob("*"):
        if file.is_file():
            yield from (json.loads(line) for line in file.read_text().splitlines())
