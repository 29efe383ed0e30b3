"""A `terrarium serve` of our own, and its commands."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from server_process import ServerProcess, free_port

CHECKOUT = Path(__file__).resolve().parents[1]


class Terrarium(ServerProcess):
    name, ready = "terrarium", "/readyz"

    def __init__(self, directory, environment):
        self.address, self.grpc_address = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        listen = {"TERRARIUM__HTTP__LISTEN": self.address, "TERRARIUM__HTTP__GRPC_LISTEN": self.grpc_address}
        super().__init__(directory, [binary(), "serve"], listen | onnx_runtime() | environment)

    def predict(self, model, body):
        return self.post(f"/v1/models/{model}/predict", body)

    def metric(self, name):
        """The value of one without labels."""
        lines = self.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def reasons(self):
        """What `/readyz` says is not as it should be."""
        return self.get("/readyz").json()["reasons"]


def run(directory, *arguments, environment=None):
    """`terrarium ARGUMENTS`, in a directory, to its end."""
    command = [binary(), *(str(argument) for argument in arguments)]
    return subprocess.run(command, cwd=directory, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=120)


def binary():
    path = Path(os.environ.get("TERRARIUM_BIN", CHECKOUT / "target" / "debug" / "terrarium"))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: build it with `cargo build`, or name it in TERRARIUM_BIN")
    return path.resolve()


def onnx_runtime():
    """The library that the reference uses too, unless another one is named: the last bit depends on it."""
    if "ORT_DYLIB_PATH" in os.environ:
        return {}
    package = Path(find_spec("onnxruntime").submodule_search_locations[0])
    name = {"darwin": "libonnxruntime*.dylib"}.get(sys.platform, "libonnxruntime.so*")
    return {"ORT_DYLIB_PATH": str(next(iter(sorted((package / "capi").glob(name)))))}
