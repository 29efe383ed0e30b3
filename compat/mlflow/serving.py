"""Terrarium over an MLflow registry, and calls to it."""

import json

from terrarium_process import Terrarium


def serve(directory, uri, poll="200ms", **settings):
    """Terrarium on an MLflow registry; its cache of files is in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        "TERRARIUM__REGISTRY__MLFLOW__URI": uri,
        "TERRARIUM__REGISTRY__MLFLOW__POLL": poll,
        "TERRARIUM__REGISTRY__MLFLOW__CACHE": str(directory / "cache"),
    }
    return Terrarium(directory, environment | settings)


def invocations(server, body, path="/invocations", content_type="application/json"):
    """(status, answer) of a scoring server; `body` is sent as it is if it is text."""
    data = body if isinstance(body, str) else json.dumps(body)
    response = server.session.post(
        f"http://{server.address}{path}", data=data.encode(), headers={"Content-Type": content_type}, timeout=30
    )
    try:
        return response.status_code, json.loads(response.text)
    except ValueError:
        return response.status_code, response.text


def version_of(server, name):
    """The version that answers a prediction."""
    response = server.predict(name, {"rows": [{"x0": 1, "x1": 0, "x2": 0, "x3": 0}]})
    assert response.status_code == 200, f"{response.status_code} {response.text}\n{server.log_tail()}"
    return response.json()["model"]["version"]
