"""What the suites share: a Redis of their own, a demo directory with features, workers of both kinds."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "compat"))

from codecs_of_arq import CODECS  # noqa: E402
from redis_process import RedisServer  # noqa: E402
from terrarium_process import Terrarium, run  # noqa: E402

LIBRARY = CHECKOUT / ".terrarium" / "lib"


def onnx_runtime():
    if "ORT_DYLIB_PATH" in os.environ:
        return {}
    libraries = sorted(LIBRARY.glob("libonnxruntime*"))
    if not libraries:
        pytest.exit(f"{LIBRARY} has no ONNX Runtime: run dev/onnxruntime", returncode=2)
    return {"ORT_DYLIB_PATH": str(libraries[0])}


os.environ |= onnx_runtime()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A copy of the demo, its features loaded into the embedded online store."""
    directory = tmp_path_factory.mktemp("demo")
    for part in ("feature_repo", "features", "models"):
        shutil.copytree(CHECKOUT / part, directory / part, ignore=shutil.ignore_patterns("data", "__pycache__"))
    done = run(directory, "features", "materialize", "2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server):
    """An empty database."""
    redis_server.client().flushdb()
    return redis_server.url


@pytest.fixture(params=sorted(CODECS))
def codec(request):
    return CODECS[request.param]


@pytest.fixture
def server(demo, redis_url, tmp_path):
    """`terrarium serve` with its embedded worker on the queue."""
    with Terrarium(demo, jobs_in(redis_url, tmp_path)) as server:
        yield server


def jobs_in(redis_url, directory, **settings):
    """The environment of a Terrarium whose jobs are in that Redis."""
    own = {f"TERRARIUM__JOBS__{name}": str(value) for name, value in settings.items()}
    return {
        "TERRARIUM__JOBS__REDIS__URL": redis_url,
        "TERRARIUM__AUDIT__FILE__DIRECTORY": str(directory / "audit"),
    } | own


@pytest.fixture
def start_worker(demo, redis_url, tmp_path):
    """Starts `terrarium worker`s; those that still run are stopped at the end."""
    started = []

    def start(name="worker", **settings):
        environment = os.environ | jobs_in(redis_url, tmp_path / name, **settings)
        log = (tmp_path / f"{name}.log").open("ab")
        process = subprocess.Popen([binary(), "worker"], cwd=demo, env=environment, stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(timeout=40)


def binary():
    from terrarium_process import binary as path

    return str(path())


@contextmanager
def event_loop():
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()
