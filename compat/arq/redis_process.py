"""A redis-server of our own, which may be killed and started again."""

import shutil
import subprocess
import time

import pytest
import redis
from server_process import free_port


class RedisServer:
    def __init__(self, directory, *options):
        self.directory, self.options, self.port = directory, options, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail("redis-server is not installed: run `dev/setup test`", pytrace=False)
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory), "--save", "", *self.options]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                return self.client().ping()
            except redis.ConnectionError:
                time.sleep(0.02)
        pytest.fail("redis-server does not answer", pytrace=False)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def client(self):
        return redis.Redis(port=self.port)
