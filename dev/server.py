"""A server process of our own: started on a free port, awaited, called, stopped. Used by dev/smoke.py and dev/bench.py."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

READY_WITHIN_S = 60
STOP_WITHIN_S = 20


class Failed(Exception):
    """The server did not start or stop as it should; the message ends with its log."""


class Server:
    """`command` is given the address it shall listen on; it answers 200 on `ready` when it can be called."""

    def __init__(self, name, command, ready, environment=None):
        self.name = name
        self.address = f"127.0.0.1:{free_port()}"
        self.ready = ready
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command(self.address),
            env=os.environ | (environment(self.address) if environment else {}),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self):
        deadline = time.monotonic() + READY_WITHIN_S
        answer = "nothing listens"
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                status, body = self.call("GET", self.ready)
                if status == 200:
                    return self
                answer = f"{status} {body}"
            except OSError:
                pass
            time.sleep(0.02)
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        why = f"exited with code {code}" if code is not None else f"not ready after {READY_WITHIN_S} s, {self.ready}: {answer}"
        raise Failed(f"{self.name} {why}\n{self.log_tail()}")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def call(self, method, path, body=None):
        """(status, answer): parsed if it is JSON, else text. Only a failed connection is an exception."""
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with DIRECT.open(request, timeout=30) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def stop(self):
        """SIGTERM, and SIGKILL if that is not enough. The exit code, as `subprocess` has it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name} did not stop within {STOP_WITHIN_S} s of SIGTERM\n{self.log_tail()}") from None

    def log_tail(self):
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()[-40:]
        return "\n".join([f"---- log of {self.name}", *lines, "----"])


# Loopback is never reached through a proxy, whatever the environment says.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def terrarium(binary, audit_directory, environment=None):
    """`terrarium serve` in the current directory, with its audit trail in a directory of the caller's."""

    def settings(address):
        own = {"TERRARIUM__HTTP__LISTEN": address, "TERRARIUM__HTTP__GRPC_LISTEN": "",
               "TERRARIUM__AUDIT__FILE__DIRECTORY": str(audit_directory)}
        return own | (environment or {})

    return Server("terrarium", lambda address: [binary, "serve"], "/readyz", settings)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
