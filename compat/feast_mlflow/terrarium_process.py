"""A `terrarium serve` of our own: started in a directory, awaited, stopped by process id."""

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import requests
from demo_reference import CHECKOUT

READY_WITHIN_S = 60


class Terrarium:
    def __init__(self, directory, environment):
        binary = Path(os.environ.get("TERRARIUM_BIN", CHECKOUT / "target" / "debug" / "terrarium"))
        if not binary.is_file():
            raise FileNotFoundError(f"{binary} is missing: build it with `cargo build`, or name it in TERRARIUM_BIN")
        self.address = f"127.0.0.1:{free_port()}"
        self.log = Path(directory) / "terrarium.log"
        environment = os.environ | {"TERRARIUM__HTTP__LISTEN": self.address} | onnx_runtime() | environment
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary.resolve(), "serve"], cwd=directory, env=environment, stdout=log, stderr=log
            )
        self.session = requests.Session()

    def __enter__(self):
        deadline = time.monotonic() + READY_WITHIN_S
        answer = "nothing listens yet"
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                response = self.session.get(f"http://{self.address}/readyz", timeout=5)
                if response.status_code == 200:
                    return self
                answer = f"{response.status_code} {response.text}"
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        self.stop()
        outcome = f"not ready within {READY_WITHIN_S} s (exit code {self.process.returncode}); /readyz: {answer}"
        raise RuntimeError(f"{outcome}\n{self.log_tail()}")

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM, then SIGKILL."""
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def predict(self, model, body):
        return self.session.post(f"http://{self.address}/v1/models/{model}/predict", json=body, timeout=30)

    def log_tail(self):
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-40:])


def onnx_runtime():
    """The library that the reference uses too, unless another one is named: the last bit depends on it."""
    if "ORT_DYLIB_PATH" in os.environ:
        return {}
    package = Path(find_spec("onnxruntime").submodule_search_locations[0])
    name = {"darwin": "libonnxruntime*.dylib"}.get(sys.platform, "libonnxruntime.so*")
    return {"ORT_DYLIB_PATH": str(next(iter(sorted((package / "capi").glob(name)))))}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
