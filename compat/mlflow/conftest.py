"""What the suites share: MLflow servers with the zoo logged into them, and Terrarium on top.

All of it lives for the session: a server of MLflow's takes seconds to start.
"""

import os
import uuid

import mlflow
import pytest
from mlflow_process import MlflowServer, s3_environment
from serving import serve
from zoo import ZOO, log

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["NO_PROXY"] = "127.0.0.1,localhost"  # loopback is never reached through a proxy


@pytest.fixture(scope="session", params=["proxied", "proxied-s3", "s3"])
def zoo(request, tmp_path_factory):
    """(MLflow server, Terrarium that serves what was logged there), for each way of keeping files."""
    yield from filled(tmp_path_factory, request.param)


@pytest.fixture(scope="session")
def proxied_zoo(tmp_path_factory):
    yield from filled(tmp_path_factory, "proxied")


def filled(tmp_path_factory, artifacts):
    directory = tmp_path_factory.mktemp(artifacts)
    access = s3_environment() if artifacts != "proxied" else {}
    before = {name: os.environ.get(name) for name in access}
    os.environ.update(access)  # clients put files into the bucket by themselves where nobody stands before it
    try:
        with MlflowServer(directory, artifacts) as server:
            client = server.use()
            for name, make in ZOO.items():
                version = log(name, make(), save_as_external_data=name == "external_data")
                client.set_registered_model_alias(name, "champion", version)
            with serve(directory / "terrarium", server.uri) as terrarium:
                yield server, terrarium
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def tracking_server(tmp_path_factory):
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def server(tracking_server):
    """An MLflow server that a test may do anything to but lose its data; the fluent functions are pointed at it."""
    tracking_server.use()
    yield tracking_server
    tracking_server.resume()
    if not tracking_server.running:
        tracking_server.start()


@pytest.fixture
def unique():
    """Makes names that no other test has."""
    end = uuid.uuid4().hex[:8]
    return lambda name: f"{name}_{end}"


@pytest.fixture(autouse=True)
def end_runs():
    """`log_model` opens a run and leaves it open."""
    yield
    while mlflow.active_run():
        mlflow.end_run()
