"""The real arq client against our worker: what a Python application sees must be what it sees of arq's own worker."""

import asyncio
import json
from datetime import timedelta

import pytest
from arq.constants import health_check_key_suffix
from arq.jobs import Job, JobStatus, SerializationError
from arq.worker import JobExecutionFailed
from codecs_of_arq import with_exceptions
from conftest import jobs_in
from terrarium_process import Terrarium

REQUEST = {"entities": {"driver_id": [1001, 1002, 1099]}, "inputs": {"trip_km": [3.2, 7.5, 0.1]}}
DELAY = 0.02


def test_predict_answers_as_http_does_bit_for_bit(server, redis_url, codec):
    async def ask():
        pool = await codec.pool(redis_url)
        job = await pool.enqueue_job("predict", "driver_ranking", REQUEST)
        return await job.result(timeout=20, poll_delay=DELAY)

    answer = asyncio.run(ask())
    http = server.predict("driver_ranking", REQUEST).json()
    assert answer["outputs"] == http["outputs"]
    assert answer["model"] == http["model"]
    assert answer["n_rows"] == http["n_rows"]
    assert json.dumps(answer["outputs"]) == json.dumps(http["outputs"])


@pytest.mark.parametrize(
    ("arguments", "path", "body"),
    [
        (("nobody", REQUEST), "/v1/models/nobody/predict", REQUEST),
        (("driver_ranking", {}), "/v1/models/driver_ranking/predict", {}),
        (("driver_ranking", {"rows": []}), "/v1/models/driver_ranking/predict", {"rows": []}),
        (
            ("driver_ranking", {"entities": {"driver_id": [1]}, "inputs": {"nothing": [1]}}),
            "/v1/models/driver_ranking/predict",
            {"entities": {"driver_id": [1]}, "inputs": {"nothing": [1]}},
        ),
    ],
)
def test_a_wrong_request_fails_with_the_code_and_message_of_http(server, redis_url, codec, arguments, path, body):
    async def ask():
        pool = await codec.pool(redis_url)
        job = await pool.enqueue_job("predict", *arguments)
        with pytest.raises((JobExecutionFailed, SerializationError)) as failure:
            await job.result(timeout=20, poll_delay=DELAY)
        return str(failure.value)

    problem = server.post(path, body).json()
    assert asyncio.run(ask()) == f"{problem['code']}: {problem['detail']}"


def test_failures_are_of_arqs_own_classes(server, redis_url, codec):
    async def ask():
        pool = await codec.pool(redis_url)
        job = await pool.enqueue_job("no_such_function", 1)
        with pytest.raises(Exception) as failure:
            await job.result(timeout=20, poll_delay=DELAY)
        return failure.value

    failure = asyncio.run(ask())
    wanted = JobExecutionFailed if codec.name == "pickle" else SerializationError
    assert type(failure) is wanted
    assert "function 'no_such_function' not found" in str(failure)


def test_clients_with_the_decoder_see_classes_in_messagepack_too(demo, redis_url, tmp_path):
    async def ask():
        pool = await with_exceptions().pool(redis_url)
        failed = await pool.enqueue_job("predict", "nobody", {})
        with pytest.raises(JobExecutionFailed, match="^body_form_ambiguous: "):
            await failed.result(timeout=20, poll_delay=DELAY)
        late = await pool.enqueue_job("predict", "driver_ranking", REQUEST, _defer_by=60)
        assert await late.abort(timeout=20, poll_delay=DELAY) is True

    with Terrarium(demo, jobs_in(redis_url, tmp_path, REDIS__FAILURES="map")):
        asyncio.run(ask())


def test_status_info_and_results_read_as_arqs(server, redis_url, codec):
    async def ask():
        pool = await codec.pool(redis_url)
        job = await pool.enqueue_job("predict", "driver_ranking", REQUEST, _job_id="mine")
        await job.result(timeout=20, poll_delay=DELAY)
        assert await job.status() is JobStatus.complete
        info = await job.result_info()
        assert (info.function, info.job_try, info.success, info.queue_name) == ("predict", 1, True, "arq:queue")
        assert list(info.args) == ["driver_ranking", REQUEST]
        assert info.enqueue_time <= info.start_time <= info.finish_time
        assert [result.job_id for result in await pool.all_job_results()] == ["mine"]
        assert await pool.queued_jobs() == []
        # The id is taken as long as the result is kept.
        assert await pool.enqueue_job("predict", "driver_ranking", REQUEST, _job_id="mine") is None

    asyncio.run(ask())


def test_a_deferred_job_can_be_aborted(server, redis_url):
    from codecs_of_arq import CODECS

    async def ask():
        pool = await CODECS["pickle"].pool(redis_url)
        job = await pool.enqueue_job("predict", "driver_ranking", REQUEST, _defer_by=timedelta(minutes=5))
        assert await job.status() is JobStatus.deferred
        assert await job.abort(timeout=20, poll_delay=DELAY) is True
        with pytest.raises(asyncio.CancelledError):
            await job.result(timeout=5, poll_delay=DELAY)
        done = await pool.enqueue_job("predict", "driver_ranking", REQUEST)
        await done.result(timeout=20, poll_delay=DELAY)
        assert await done.abort(timeout=5, poll_delay=DELAY) is False

    asyncio.run(ask())


def test_an_abort_that_came_too_early_does_not_kill_a_later_job_of_that_id(server, redis_url):
    from codecs_of_arq import CODECS

    async def ask():
        pool = await CODECS["pickle"].pool(redis_url)
        assert await Job("again", pool).abort(timeout=0.1, poll_delay=DELAY) is False
        await asyncio.sleep(0.01)
        job = await pool.enqueue_job("predict", "driver_ranking", REQUEST, _job_id="again")
        assert (await job.result(timeout=20, poll_delay=DELAY))["n_rows"] == 3

    asyncio.run(ask())


def test_a_deferred_job_runs_when_it_is_due_and_not_before(server, redis_url, codec):
    async def ask():
        pool = await codec.pool(redis_url)
        job = await pool.enqueue_job("predict", "driver_ranking", REQUEST, _defer_by=1)
        await job.result(timeout=20, poll_delay=DELAY)
        info = await job.result_info()
        waited = (info.start_time - info.enqueue_time).total_seconds()
        assert 1 <= waited < 1.5

    asyncio.run(ask())


def test_the_health_check_is_there_and_reads_as_arqs(server, redis_url, redis_server):
    text = redis_server.client().get("arq:queue" + health_check_key_suffix).decode()
    assert all(f" {name}=" in text for name in ("j_complete", "j_failed", "j_retried", "j_ongoing", "queued")), text


def test_bytes_that_are_no_job_are_answered_as_arq_does_and_moved_aside(server, redis_url, redis_server):
    from arq.jobs import DeserializationError
    from codecs_of_arq import CODECS

    hostile = b"\x80\x04cos\nsystem\n(S'touch /tmp/never'\ntR."
    client = redis_server.client()
    client.set("arq:job:bad", hostile, px=60_000)
    client.zadd("arq:queue", {"bad": 1})

    async def ask():
        pool = await CODECS["pickle"].pool(redis_url)
        with pytest.raises(DeserializationError):
            await Job("bad", pool).result(timeout=20, poll_delay=DELAY)

    asyncio.run(ask())
    dead = server.get("/v1/jobs?state=dead").json()["jobs"]
    assert [job["id"] for job in dead] == ["bad"]


def test_traffic_of_many_clients_is_answered_once_each(server, redis_url, codec):
    n_jobs = 300

    async def ask():
        pool = await codec.pool(redis_url)
        bodies = [{"entities": {"driver_id": [1001 + i % 10]}, "inputs": {"trip_km": [i / 7]}} for i in range(n_jobs)]
        jobs = [await pool.enqueue_job("predict", "driver_ranking", body) for body in bodies]
        answers = await asyncio.gather(*(job.result(timeout=60, poll_delay=DELAY) for job in jobs))
        return bodies, answers

    bodies, answers = asyncio.run(ask())
    for body, answer in list(zip(bodies, answers))[:: n_jobs // 10]:
        assert answer["outputs"] == server.predict("driver_ranking", body).json()["outputs"]
