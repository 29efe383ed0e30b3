"""Predictions from several connections at once: which were answered, which were not, and how long each took."""

import http.client
import json
import socket
import threading
import time
from collections import Counter

BODY = {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}
PATH = "/v1/models/driver_ranking/predict"
WITHIN_S = 60


class Load:
    """Predicts until it is stopped, or the server is gone."""

    def __init__(self, server, n_connections=4):
        self.server = server
        self.answered = set()
        self.refused = Counter()  # by (status, code)
        self.latencies = []  # of answers, in seconds, in the order in which they came
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(n_connections)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _run(self):
        host, port = self.server.address.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        body, headers = json.dumps(BODY), {"Content-Type": "application/json"}
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.stopped.is_set():
                begun = time.perf_counter()
                connection.request("POST", PATH, body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    self.latencies.append(time.perf_counter() - begun)
                    self.answered.add(answer["id"])
                else:
                    self.refused[response.status, answer["code"]] += 1
                    time.sleep(0.001)
        except (OSError, http.client.HTTPException):
            return  # the server was killed
        finally:
            connection.close()

    def wait(self, n_more):
        """Until so many more were answered."""
        target = len(self.answered) + n_more
        self.wait_for(lambda: len(self.answered) >= target)

    def wait_for(self, condition):
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < deadline, f"{len(self.answered)} answered, {dict(self.refused)} refused"
            assert any(thread.is_alive() for thread in self.threads), "the server is gone"
            time.sleep(0.01)

    def go_on_for(self, seconds):
        """The 99th percentile, in seconds, of what was answered in the meantime."""
        n_before = len(self.latencies)
        time.sleep(seconds)
        latencies = sorted(self.latencies[n_before:])
        assert latencies, f"no answer within {seconds} s, {dict(self.refused)} refused"
        return latencies[int(len(latencies) * 0.99)]
