"""A real MLflow tracking server and a real `mlflow models serve`, on free ports."""

import os
import signal
import sys
import time
import uuid
from pathlib import Path

import boto3
import mlflow
from cryptography.fernet import Fernet
from server_process import ServerProcess, free_port

MLFLOW = Path(sys.executable).parent / "mlflow"
S3_KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
WEBHOOKS = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # else a webhook that is made is not known at once
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
}


# Seven processes that run MLflow's own background jobs, which nothing here asks for.
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class MlflowServer:
    """SQLite backend. Its data outlives its process, and it comes back at the same address.

    `artifacts`: `proxied` keeps files on its disk, `proxied-s3` in a bucket behind it; `s3` leaves the bucket to the clients.
    """

    def __init__(self, directory, artifacts="proxied"):
        self.directory, self.port = Path(directory), free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environment = WEBHOOKS | NO_JOBS
        place = ["--artifacts-destination", str(self.directory / "artifacts")]
        if artifacts != "proxied":
            self.environment |= s3_environment()
            bucket = f"mlflow-{uuid.uuid4().hex}"
            s3_client().create_bucket(Bucket=bucket)
            place = ["--artifacts-destination", f"s3://{bucket}/root"]
            if artifacts == "s3":
                place = ["--no-serve-artifacts", "--default-artifact-root", f"s3://{bucket}/root"]
        backend = ["--backend-store-uri", f"sqlite:///{self.directory}/mlflow.db"]
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self.command = [MLFLOW, "server", *listen, *backend, *place]
        self.running = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.resume()
        self.kill()

    def start(self):
        self.running = _Running(self.directory, self.command, self.environment, f"127.0.0.1:{self.port}").__enter__()

    def kill(self):
        """SIGKILL, to the workers as well."""
        self._signal(signal.SIGKILL)
        if self.running:
            self.running.process.wait()
            self.running = None

    def pause(self):
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number):
        if self.running:
            try:
                os.killpg(self.running.process.pid, number)
            except ProcessLookupError:
                pass

    def client(self):
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def use(self):
        """For MLflow's fluent functions, in this process."""
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return self.client()


class _Running(ServerProcess):
    name, ready = "mlflow", "/health"

    def __init__(self, directory, command, environment, address):
        self.address = address
        super().__init__(directory, command, environment, own_group=True)


class ScoringServer(ServerProcess):
    """`mlflow models serve` of one model."""

    name, ready = "mlflow-models-serve", "/ping"

    def __init__(self, directory, model_uri, tracking_uri):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        command = [MLFLOW, "models", "serve", "-m", model_uri, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
        # It starts `uvicorn` by its bare name.
        path = f"{MLFLOW.parent}{os.pathsep}{os.environ['PATH']}"
        super().__init__(directory, command, {"MLFLOW_TRACKING_URI": tracking_uri, "PATH": path}, own_group=True)

    def stop(self):
        """With the server that it starts."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def s3_environment():
    endpoint = os.environ.get("TERRARIUM_S3")
    assert endpoint, "TERRARIUM_S3 is not set: run `dev/services up`"
    return S3_KEYS | {"MLFLOW_S3_ENDPOINT_URL": endpoint, "AWS_ENDPOINT_URL": endpoint}


def s3_client():
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=os.environ["TERRARIUM_S3"], **keys)


def until(condition, seconds=20, what="it"):
    """Waits for a condition that is bound to hold, and returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
        time.sleep(0.02)
    return outcome
