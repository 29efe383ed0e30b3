"""What Terrarium writes for arq, read by Python, msgpack and arq themselves. The bytes are those that the product's own
tests hold it to (`src/jobs/arq/tests/written.rs`), so nothing has to run here."""

import asyncio
import json
import pickle
from datetime import datetime, timezone
from pathlib import Path

import msgpack
import pytest
from arq.jobs import DeserializationError, deserialize_job, deserialize_result
from arq.worker import JobExecutionFailed

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "arq"
WRITTEN = json.loads((FIXTURES / "written.json").read_text())
CPYTHON = {
    item["name"]: bytes.fromhex(item["hex"])
    for item in json.loads((FIXTURES / "pickle_values.json").read_text())["items"]
    if item["protocol"] == 4
}
DESERIALIZER = {"pickle": pickle.loads, "msgpack": msgpack.unpackb, "json": json.loads}
BODY = {
    "x": [1.0, 2.5, -3.25],
    "n": 12345678901234,
    "big": 2**64 - 1,
    "text": 'naïve ☃ " \\ \n',
    "nested": {"a": [[1, -2], [300, 70000]], "none": None, "yes": True},
}
ENQUEUED_AT = datetime.fromtimestamp(1795360131.74, tz=timezone.utc)
MESSAGES = {
    "code": ("model_not_found", "no model `x`"),
    "expired": ("JobExecutionFailed", "job expired"),
    "function": ("JobExecutionFailed", 'function "it\'s" not found'),
    "retries": ("JobExecutionFailed", "max 5 retries exceeded"),
    "cancelled": ("CancelledError", ""),
    "timed_out": ("TimeoutError", ""),
    "undecodable": ("DeserializationError", "unable to deserialize job"),
}


def plain(value):
    """With types and the sign of zero; a set has no order of its own."""
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(repr, value))
    if isinstance(value, dict):
        return "dict", [(plain(key), plain(item)) for key, item in value.items()]
    return type(value), repr(value)


@pytest.mark.parametrize("item", WRITTEN["values"], ids=lambda item: item["name"])
def test_pickles_are_the_values_that_python_wrote(item):
    ours, original = pickle.loads(bytes.fromhex(item["hex"])), pickle.loads(CPYTHON[item["name"]])
    assert plain(ours) == plain(original)


@pytest.mark.parametrize("item", WRITTEN["jobs"], ids=lambda item: item["codec"])
def test_jobs_are_read_by_arq(item):
    job = deserialize_job(bytes.fromhex(item["hex"]), deserializer=DESERIALIZER[item["codec"]])
    assert (job.function, job.job_try, job.kwargs) == ("predict", 2, {"k": 0.1, "n": None})
    assert tuple(job.args) == ("iris", BODY)
    assert job.enqueue_time == ENQUEUED_AT


def raised(name):
    """The exception that a client with pickle raises."""
    kind, message = MESSAGES[name]
    match kind:
        case "CancelledError":
            return asyncio.CancelledError()
        case "TimeoutError":
            return TimeoutError()
        case "DeserializationError":
            return DeserializationError(message)
        case "JobExecutionFailed":
            return JobExecutionFailed(message)
    return JobExecutionFailed(f"{kind}: {message}")


@pytest.mark.parametrize("item", WRITTEN["results"], ids=lambda item: f"{item['name']}-{item['codec']}-{item['form']}")
def test_results_are_read_by_arq(item):
    result = deserialize_result(bytes.fromhex(item["hex"]), deserializer=DESERIALIZER[item["codec"]])
    assert (result.job_id, result.queue_name, result.job_try) == ("id-1", "arq:queue", 1)
    assert tuple(result.args) == ("iris", 1)
    assert result.success == (item["name"] == "value")
    if item["name"] == "value":
        assert result.result == BODY
    elif item["name"] == "unserializable":
        assert result.result == "unable to serialize result"
    elif item["codec"] == "pickle":
        wanted = raised(item["name"])
        assert (type(result.result), result.result.args) == (type(wanted), wanted.args)
    elif item["form"] == "map":
        kind, message = MESSAGES[item["name"]]
        assert result.result == {"__exc__": kind, "msg": message}
    else:
        kind, message = MESSAGES[item["name"]]
        assert result.result == (f"{kind}: {message}" if message else kind)
