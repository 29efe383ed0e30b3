"""Callers that do not stop while something happens to MLflow."""

import threading
import time

import requests

BODY = {"rows": [{"x0": 1, "x1": 0, "x2": 0, "x3": 0}]}


class Traffic:
    """Threads that predict one call after another, and keep what they were answered: (status, version, score, seconds, ended)."""

    def __init__(self, server, model, n_callers=4):
        self.url = f"http://{server.address}/v1/models/{model}/predict"
        self.answers, self.stopping = [], threading.Event()
        self.callers = [threading.Thread(target=self.call) for _ in range(n_callers)]

    def __enter__(self):
        for caller in self.callers:
            caller.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for caller in self.callers:
            caller.join()

    def call(self):
        session = requests.Session()
        session.trust_env = False
        while not self.stopping.is_set():
            started = time.monotonic()
            try:
                response = session.post(self.url, json=BODY, timeout=10)
                body = response.json()
                version, score = body.get("model", {}).get("version"), body.get("outputs", {}).get("variable", [None])[0]
                answer = response.status_code, version, score
            except (requests.RequestException, ValueError) as error:
                answer = 0, None, repr(error)
            ended = time.monotonic()
            self.answers.append((*answer, ended - started, ended))
            time.sleep(0.001)

    def failed(self):
        return [answer for answer in self.answers if answer[0] != 200]

    def versions(self):
        return {answer[1] for answer in self.answers}

    def slowest(self):
        return max(answer[3] for answer in self.answers)
