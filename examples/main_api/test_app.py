"""The application, the real arq, a real Redis, and Terrarium: what users of the application see."""

import importlib

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def client(server, redis_url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("TERRARIUM_URL", f"http://{server.address}")
    import app

    with TestClient(importlib.reload(app).app) as client:
        yield client


def test_drivers_are_ranked_over_the_queue_as_the_model_scores_them(client, server):
    drivers = [1001, 1002, 1003]
    answer = client.post("/rank", json={"drivers": drivers, "km": 3.2}).json()
    body = {"entities": {"driver_id": drivers}, "inputs": {"trip_km": 3.2}}
    direct = server.predict("driver_ranking", body).json()
    (scores,) = direct["outputs"].values()
    assert {row["driver"]: row["score"] for row in answer["drivers"]} == dict(zip(drivers, scores))
    assert [row["score"] for row in answer["drivers"]] == sorted(scores, reverse=True)
    assert answer["model_version"] == direct["model"]["version"]


def test_acceptance_comes_over_http(client, server):
    answer = client.post("/acceptance", json={"driver": 1001, "customer": "c-2001"}).json()
    body = {"entities": {"driver_id": [1001], "customer_id": ["c-2001"]}}
    assert answer["outputs"] == server.predict("trip_acceptance", body).json()["outputs"]


def test_what_the_application_refuses_never_reaches_the_model(client):
    assert client.post("/rank", json={"drivers": [], "km": 3.2}).status_code == 422


def test_what_the_model_refuses_is_the_applications_502(client, server):
    answer = client.post("/rank", json={"drivers": [2**70], "km": 3.2})
    assert answer.status_code == 502, answer.text
