"""Our client against the real arq worker: what `terrarium jobs` enqueues runs there, and what it answers is shown here."""

import asyncio
import json

import pytest
from conftest import jobs_in
from python_worker import python_worker
from terrarium_process import run


@pytest.fixture
def jobs(demo, redis_url, tmp_path, codec):
    """Runs `terrarium --json jobs ...` with a real arq worker on the queue; (exit code, what it printed)."""
    environment = jobs_in(redis_url, tmp_path, REDIS__CODEC=codec.name)

    def command(*arguments):
        async def both():
            async with python_worker(redis_url, codec):
                return await asyncio.to_thread(run, demo, "--json", "jobs", *arguments, environment=environment)

        done = asyncio.run(both())
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    return command


def test_a_call_of_ours_runs_in_a_python_worker(jobs):
    code, job = jobs("enqueue", "add", "40", "--kwarg", "y=1", "--kwarg", "scale=2", "--wait", "20s")
    assert (code, job["state"], job["success"], job["result"]) == (0, "complete", True, 82)


def test_every_kind_of_value_goes_there_and_comes_back(jobs):
    values = [None, True, -1, 2**53 + 1, 0.1, "text", "Привет", [1, [2, {"a": None}]], {"k": [1.5, "x"]}]
    code, job = jobs("enqueue", "echo", *(json.dumps(value) for value in values), "--kwarg", 'd={"a":[1]}', "--wait", "20s")
    assert (code, job["result"]) == (0, [values, {"d": {"a": [1]}}])


def test_an_exception_of_python_is_shown_as_a_failure(jobs, codec):
    code, job = jobs("enqueue", "boom", "no such thing", "--wait", "20s")
    assert (code, job["success"]) == (1, False)
    if codec.name == "pickle":
        assert "ValueError" in json.dumps(job["error"]) and "no such thing" in job["error"]["message"]
    else:
        # A worker of arq's cannot write exceptions in other codecs.
        assert job["error"]["message"] == "unable to serialize result"


def test_an_unknown_function_is_shown_in_arqs_words(jobs, codec):
    code, job = jobs("enqueue", "nothing", "--wait", "20s")
    assert code == 1
    if codec.name == "pickle":
        assert job["error"]["message"] == "function 'nothing' not found"
