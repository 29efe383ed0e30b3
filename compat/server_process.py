"""A server of our own on a free port: started in a directory, awaited, stopped by process id."""

import os
import socket
import subprocess
import time
from pathlib import Path

import requests

READY_WITHIN_S = 180  # MLflow imports for long on a busy machine


class ServerProcess:
    """`command` listens on `self.address`, and answers 200 on `ready` when it can be called."""

    name = "server"
    ready = "/health"

    def __init__(self, directory, command, environment, own_group=False):
        """`own_group`: the process leads a group, so that its children can be reached."""
        self.log = Path(directory) / f"{self.name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=directory, env=os.environ | environment, stdout=log, stderr=log, start_new_session=own_group)
        self.session = requests.Session()
        self.session.trust_env = False  # loopback is never reached through a proxy

    def __enter__(self):
        deadline = time.monotonic() + READY_WITHIN_S
        answer = "nothing listens yet"
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                answer = self.ask_ready()
                if answer is None:
                    return self
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        self.stop()
        outcome = f"{self.name} not ready within {READY_WITHIN_S} s (exit code {self.process.returncode}): {answer}"
        raise RuntimeError(f"{outcome}\n{self.log_tail()}")

    def ask_ready(self):
        """Nothing, or why not."""
        response = self.get(self.ready, timeout=5)
        return None if response.status_code == 200 else f"{self.ready} says {response.status_code} {response.text}"

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

    def get(self, path, timeout=30):
        return self.session.get(f"http://{self.address}{path}", timeout=timeout)

    def post(self, path, body=None, data=None, timeout=30):
        """`body` is sent as JSON, `data` as it is."""
        headers = {"Content-Type": "application/json"} if data is not None else None
        return self.session.post(f"http://{self.address}{path}", json=body, data=data, headers=headers, timeout=timeout)

    def log_tail(self):
        return "".join(self.log.read_text(errors="replace").splitlines(keepends=True)[-40:])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
