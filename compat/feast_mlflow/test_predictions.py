"""Terrarium against real Feast and real MLflow on the demo data.

Feast materializes a copy of the demo into SQLite and Redis, Terrarium serves that copy, and every answer is compared with
`mlflow.pyfunc` over `feast.get_online_features`, computed here and now: regressors to the last bit.

    .terrarium/venv/bin/python -m pytest compat/feast_mlflow
TERRARIUM_BIN    the binary, default target/debug/terrarium
TERRARIUM_REDIS  host:port of a running Redis; only database 15 is used, and only the demo's keys in it
"""

import json
import math
import os
from datetime import datetime

import pytest
import redis
from demo_cases import all_cases
from demo_reference import CHECKOUT, Reference, demo_copy, materialize
from terrarium_process import Terrarium

PROJECT = b"terrarium_demo"
REDIS_DB = 15
CASES = all_cases()
CLASSIFIER_TOLERANCE = 1e-6


def case_id(case):
    """The model and the first row, for the name of the test."""
    model, request = case
    first = request.get("rows", [request])[0]
    keys = [v[0] if isinstance(v, list) else v for v in first.get("entities", first).values()]
    return f"{model}-{len(json.dumps(request))}b-{'-'.join(str(k) for k in keys)}"


@pytest.fixture(scope="session")
def redis_connection():
    """The `connection_string` of database 15, without the demo's keys before and after."""
    address = os.environ.get("TERRARIUM_REDIS", "").split(",")[0]
    if not address:
        pytest.fail("TERRARIUM_REDIS is not set: start redis-server and set it to host:port", pytrace=False)
    host, port = address.rsplit(":", 1)
    client = redis.Redis(host=host, port=int(port), db=REDIS_DB)
    remove_demo_keys(client)
    yield f"{address},db={REDIS_DB}"
    remove_demo_keys(client)


def remove_demo_keys(client):
    # A key is the entity key followed by the project name.
    for key in client.scan_iter(match=b"*" + PROJECT, count=1000):
        client.delete(key)


@pytest.fixture(scope="session", params=["sqlite", "redis"])
def store(request, tmp_path_factory):
    """(store name, directory with materialized demo data, environment that Terrarium needs for it)"""
    name = request.param
    environment = {}
    if name == "redis":
        environment = {
            "TERRARIUM_REDIS": request.getfixturevalue("redis_connection"),
            "TERRARIUM__FEATURES__FEATURE_STORE_YAML": "feature_store.redis.yaml",
        }
        before = os.environ["TERRARIUM_REDIS"]
        os.environ["TERRARIUM_REDIS"] = environment["TERRARIUM_REDIS"]  # read by Feast
        request.addfinalizer(lambda: os.environ.update(TERRARIUM_REDIS=before))
    directory = demo_copy(tmp_path_factory.mktemp(name))
    materialize(directory, name)
    return name, directory, environment


@pytest.fixture(scope="session")
def reference(store):
    name, directory, _ = store
    return Reference(directory, name)


@pytest.fixture(scope="session")
def terrarium(store):
    _, directory, environment = store
    with Terrarium(directory, environment) as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_prediction(terrarium, reference, case):
    model, request = case
    expected = reference.predict(model, request)
    answer = predict(terrarium, model, request)
    differences = compare(answer, expected) + compare_outputs(answer, expected)
    assert not differences, report(terrarium, case, differences, expected, answer)
    explained = predict(terrarium, model, request | {"explain": True})
    differences = compare(explained, expected) + compare_outputs(explained, expected)
    differences += compare_features(explained, expected)
    assert not differences, report(terrarium, case, differences, expected, explained)


def test_one_row_at_a_time_equals_many_rows(terrarium):
    """The answer to a row does not depend on the rows beside it."""
    for model, request in CASES:
        if "rows" in request:
            continue
        columns = {name: v for part in request.values() for name, v in part.items() if isinstance(v, list)}
        if not columns or len(next(iter(columns.values()))) < 2:
            continue
        many = predict(terrarium, model, request)["outputs"]
        for row in range(len(next(iter(columns.values())))):
            single = {
                part: {name: [v[row]] if isinstance(v, list) else v for name, v in names.items()}
                for part, names in request.items()
            }
            alone = predict(terrarium, model, single)["outputs"]
            for output, values in alone.items():
                equal = close if output == "probabilities" else all_equal
                assert equal(values[0], many[output][row]), (model, single, output, values[0], many[output][row])


def test_recorded_predictions_are_current(reference):
    """tests/fixtures/demo is what Feast and MLflow answer today; no Terrarium in this test."""
    recorded = json.loads((CHECKOUT / "tests" / "fixtures" / "demo" / "expected.json").read_text())
    assert [(c["model"], c["request"]) for c in recorded["cases"]] == CASES, "run dev/record-demo"
    for case in recorded["cases"]:
        expected = reference.predict(case["model"], case["request"])
        for part in ("features", "event_timestamps"):
            assert case[part] == expected[part], case
        assert not compare_outputs(case, expected), case


def predict(terrarium, model, body):
    response = terrarium.predict(model, body)
    assert response.status_code == 200, (
        f"{model} {json.dumps(body)}\nanswered {response.status_code} {response.text}\n{terrarium.log_tail()}"
    )
    return response.json()


def compare(answer, expected):
    """Everything around the numbers."""
    n_rows = len(next(iter(expected["outputs"].values())))
    differences = []
    if answer.get("n_rows") != n_rows:
        differences.append(f"n_rows is {answer.get('n_rows')}, not {n_rows}")
    for name, value in expected["model"].items():
        if value is not None and answer.get("model", {}).get(name) != value:
            differences.append(f"model.{name} is {answer.get('model', {}).get(name)!r}, not {value!r}")
    return differences


def compare_outputs(answer, expected):
    outputs, wanted = answer["outputs"], expected["outputs"]
    if list(outputs) != list(wanted):
        return [f"outputs are {list(outputs)}, not {list(wanted)}"]
    differences = []
    for name, values in wanted.items():
        equal = close if name == "probabilities" else all_equal
        differences += compare_lists(f"output {name}", outputs[name], values, equal)
    return differences


def compare_features(answer, expected):
    features = answer.get("features") or {}
    if sorted(features) != sorted(expected["features"]):
        return [f"features are {sorted(features)}, not {sorted(expected['features'])}"]
    differences = []
    for ref, values in expected["features"].items():
        feature, timestamps = features[ref], expected["event_timestamps"][ref]
        differences += compare_lists(f"{ref} values", feature["values"], values, all_equal)
        differences += compare_lists(f"{ref} event_timestamps", feature["event_timestamps"], timestamps, same_instant)
        for row, (status, value, timestamp) in enumerate(zip(feature["statuses"], values, timestamps, strict=True)):
            if status not in possible_statuses(value, timestamp):
                differences.append(f"{ref} row {row}: status {status} with value {value} of {timestamp}")
        if [age is None for age in feature["ages_s"]] != [timestamp is None for timestamp in timestamps]:
            differences.append(f"{ref}: ages {feature['ages_s']} with timestamps {timestamps}")
    return differences


def possible_statuses(value, timestamp):
    """The demo's features are old, so that views with a ttl may also call them `outside_max_age`."""
    if timestamp is None:
        return {"overridden"} if value is not None else {"not_found", "overridden"}
    return {"null", "outside_max_age"} if value is None else {"present", "outside_max_age"}


def compare_lists(what, got, wanted, equal):
    if not isinstance(got, list) or len(got) != len(wanted):
        return [f"{what}: {got} instead of {len(wanted)} values"]
    pairs = enumerate(zip(got, wanted, strict=True))
    return [f"{what}, row {row}: {g!r} instead of {w!r}" for row, (g, w) in pairs if not equal(g, w)]


def all_equal(got, wanted):
    """Equal to the last bit; NaN is the text "NaN" on both sides."""
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(all_equal(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(all_equal, got, wanted))
    return isinstance(got, bool) == isinstance(wanted, bool) and got == wanted


def close(got, wanted):
    """Probabilities of the same classes within the tolerance."""
    if got.keys() != wanted.keys():
        return False
    return all(math.isclose(got[k], wanted[k], rel_tol=0, abs_tol=CLASSIFIER_TOLERANCE) for k in wanted)


def same_instant(got, wanted):
    if got is None or wanted is None:
        return got is wanted
    return got.endswith("Z") and datetime.fromisoformat(got) == datetime.fromisoformat(wanted)


def report(terrarium, case, differences, expected, answer):
    model, request = case
    lines = [f"{model} {json.dumps(request)}", *differences[:20]]
    lines += [f"expected {json.dumps(expected)}", f"answer   {json.dumps(answer)}", f"log of {terrarium.log}:"]
    return "\n".join(lines) + "\n" + terrarium.log_tail()
