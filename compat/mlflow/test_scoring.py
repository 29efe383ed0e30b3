"""`/invocations`: the same bodies to a real `mlflow models serve` and to Terrarium, answered now; status, error code and numbers
are equal.
"""

import json
import random

import pytest
from compare import differences
from serving import invocations
from mlflow_process import ScoringServer
from zoo import FLOATS, IRIS

CSV = "text/csv"
ROW = [0.1, -2.5, 3, 1e-3]


def split(columns, data, **more):
    return {"dataframe_split": {"columns": columns, "data": data}, **more}


def records(columns, data):
    return {"dataframe_records": [dict(zip(columns, row, strict=True)) for row in data]}


def random_rows(n, width, seed):
    chosen = random.Random(seed)
    return [[round(chosen.uniform(-100, 100), chosen.randrange(6)) for _ in range(width)] for _ in range(n)]


def table_bodies(columns):
    """For a signature of floating-point columns."""
    turned = columns[::-1]
    frame = random_rows(5, len(columns), 11)
    return [
        split(columns, [ROW]),
        split(columns, frame),
        split(turned, frame),
        split([*columns, "extra"], [[*row, "x"] for row in frame]),
        split(columns[:-1], [row[:-1] for row in frame]),
        split(columns, []),
        split(columns, [[1, 2, 3, True]]),
        split(columns, [["1", "2.5", "-3", "1e3"]]),
        split(columns, [["one", 2, 3, 4]]),
        split(columns, [[None, 2, 3, 4]]),
        split(columns, [[[1], 2, 3, 4]]),
        split(columns, [ROW, ROW[:2]]),
        split(columns, [ROW], params={"temperature": 2, "tag": "b", "top_k": 3}),
        split(columns, [ROW], params={"temperature": "hot"}),
        split(columns, [ROW], params={"unknown": 1}),
        split(columns, [ROW], params=[1]),
        split(columns, [ROW], other={"ignored": 1}),
        {"dataframe_split": {"data": [ROW]}},
        {"dataframe_split": {"columns": columns, "data": [ROW], "index": [7]}},
        {"dataframe_split": {"columns": columns}},
        {"dataframe_split": {"columns": columns, "data": [ROW], "more": 1}},
        {"dataframe_split": [ROW]},
        records(columns, frame),
        records(turned, frame),
        {"dataframe_records": []},
        {"dataframe_records": [dict(zip(columns, ROW, strict=True)), {columns[0]: 1}]},
        {"dataframe_records": {columns[0]: 1}},
        {"instances": [dict(zip(columns, row, strict=True)) for row in frame]},
        {"inputs": {name: [row[i] for row in frame] for i, name in enumerate(columns)}},
        {"inputs": {name: [1.5] for name in columns[1:]}},
        {"inputs": {name: 1.5 for name in columns}},
        {"inputs": [ROW], "instances": [ROW]},
        {},
        {"nothing": 1},
        [ROW],
        "7",
        "{bad",
        "",
        (f"{','.join(columns)}\n1,2,3,4\n-0.5,1e3,,0\n", CSV),
        (f"{','.join(turned)}\n1,2,3,4\n", CSV),
        (f"{','.join(columns)}\n1,two,3,4\n", CSV),
        (json.dumps(split(columns, [ROW])), "application/json; charset=utf-8"),
        (json.dumps(split(columns, [ROW])), "application/json; charset=latin-1"),
        (json.dumps(split(columns, [ROW])), "text/plain"),
    ]


MATRIX_BODIES = [
    {"inputs": [ROW]},
    {"inputs": random_rows(4, 4, 12)},
    {"instances": random_rows(2, 4, 13)},
    {"inputs": [["1", "2", "3", "4"]]},
    {"inputs": [[1, 2, 3, True]]},
    {"inputs": [[1, 2, 3]]},
    {"inputs": ROW},
    {"inputs": [[ROW]]},
    {"inputs": [[1, 2, 3, None]]},
    {"inputs": [[1, 2, 3, "x"]]},
    {"inputs": [[1, 2, 3, 4], [1]]},
    {"inputs": {"X": [ROW]}},
    {"inputs": 5},
    split(FLOATS, [ROW]),
    records(FLOATS, [ROW]),
    (f"{','.join(FLOATS)}\n1,2,3,4\n", CSV),
]
TENSORS = {"left": [[1, 2, 3], [4, 5, 6]], "right": [[1, 0, 1], [0.5, 0.5, 0.5]], "boost": [1, -1]}
TENSOR_BODIES = [
    {"inputs": TENSORS},
    {"inputs": TENSORS | {"extra": [1, 2]}},
    {"inputs": TENSORS | {"boost": [1.9, -1.9]}},
    {"inputs": TENSORS | {"boost": ["3", "4"]}},
    {"inputs": TENSORS | {"boost": [[1], [2]]}},
    {"inputs": TENSORS | {"left": [[1, 2], [3, 4]]}},
    {"inputs": TENSORS | {"left": [["a", "b", "c"]] * 2}},
    {"inputs": {name: TENSORS[name] for name in ("left", "right")}},
    {"instances": [{name: values[i] for name, values in TENSORS.items()} for i in range(2)]},
    {"inputs": [[1, 2, 3]]},
]
MIXED = ["age", "income", "city", "vip"]
MIXED_BODIES = [
    split(MIXED, [[30, 1.5, "oslo", True], [41, 2.25, "bonn", False]]),
    split(MIXED, [[30.9, 1, "rome", 0]]),
    split(MIXED, [["30", "1.5", 7, "false"]]),
    split(MIXED, [["30.5", 1, "rome", True]]),
    split(MIXED, [[None, 1, "rome", True]]),
    split([*MIXED, "note"], [[1, 2, "oslo", True, 0.5]]),
    split(MIXED[:-1], [[1, 2, "oslo"]]),
    records(MIXED, [[30, 1.5, "oslo", True]]),
    {"inputs": {"age": [1, 2], "income": [0.5, 1], "city": ["oslo", "x"], "vip": [True, False]}},
    ("age,income,city,vip\n30,1.5,oslo,True\n41,2,rome,false\n", CSV),
]
CASES = {
    "linear_columns": table_bodies(FLOATS),
    "linear_params": table_bodies(FLOATS)[12:16],
    "classifier": [*table_bodies(IRIS)[:4], records(IRIS, [ROW])],
    "linear_tensor": MATRIX_BODIES,
    "several_tensors": TENSOR_BODIES,
    "mixed_columns": MIXED_BODIES,
}


@pytest.fixture(scope="module", params=CASES)
def both(request, proxied_zoo, tmp_path_factory):
    """(cases, the real scoring server of a model, Terrarium, its path there)."""
    server, terrarium = proxied_zoo
    name = request.param
    with ScoringServer(tmp_path_factory.mktemp(name), f"models:/{name}@champion", server.uri) as scoring:
        yield CASES[name], scoring, terrarium, f"/models/{name}/invocations"


def test_the_same_bodies_get_the_same_answers(both):
    cases, scoring, terrarium, path = both
    wrong = []
    for case in cases:
        body, content_type = case if isinstance(case, tuple) else (case, "application/json")
        wanted = invocations(scoring, body, content_type=content_type)
        got = invocations(terrarium, body, path, content_type)
        found = [f"status {got[0]} instead of {wanted[0]}: {got[1]} instead of {wanted[1]}"] if got[0] != wanted[0] else []
        if not found and not (isinstance(wanted[1], str) and wanted[0] >= 400):  # a refusal in words is free in its words
            found = differences(got[1], wanted[1])
        wrong += [f"{content_type} {body if isinstance(body, str) else json.dumps(body)}\n    {line[:400]}" for line in found]
    assert not wrong, f"{len(wrong)} of {len(cases)}\n" + "\n".join(wrong)


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_the_other_routes_answer_the_same(proxied_zoo, tmp_path, path):
    server, terrarium = proxied_zoo
    with ScoringServer(tmp_path, "models:/linear_columns@champion", server.uri) as scoring:
        wanted, got = scoring.get(path), terrarium.get(path)
    assert got.status_code == wanted.status_code
    assert got.headers["Content-Type"] == wanted.headers["Content-Type"]
    if path != "/health":  # Feast's route has the same name, and says more
        assert got.text == wanted.text
