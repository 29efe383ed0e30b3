"""Trains the demo's ranking model on the features that serving uses, and makes it live.

Run it where `terrarium serve` runs, or where its configuration and feature repository are. Every step is a command:

    terrarium features historical   labelled trips -> training set, as of the time of each trip
    scikit-learn, skl2onnx          training set -> model.onnx
    terrarium models register       model.onnx -> a version of the registered model, and the alias that is served

Then it waits until the server answers with that version, and holds its answers against the model in this process.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingRegressor

SERVICE, MODEL, ALIAS = "driver_ranking_v1", "driver_ranking", "champion"
FEATURES = ["conv_rate", "acc_rate", "avg_daily_trips"]
COLUMNS = [*FEATURES, "trip_km"]  # the last one comes with the request
LABEL = "score"
DRIVERS, KM = [1001, 1002, 1003, 1009], [3.2, 7.5, 1.0, 12.0]


def terrarium(*arguments):
    """Runs a command and returns what it tells; its complaint is ours."""
    command = [os.environ.get("TERRARIUM", "terrarium"), *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def matrix(table):
    """What the graph sees: single precision, and NaN for a feature that is missing."""
    return table[COLUMNS].astype("float64").to_numpy().astype(np.float32)


def train(table, seed):
    regressor = HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=8, early_stopping=False, random_state=seed)
    return regressor.fit(matrix(table), table[LABEL])


def to_onnx(regressor, path):
    graph = convert_sklearn(
        regressor,
        name=MODEL,
        initial_types=[("input", FloatTensorType([None, len(COLUMNS)]))],
        final_types=[(LABEL, FloatTensorType([None, 1]))],
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    path.write_bytes(graph.SerializeToString())


def input_example(table, path):
    """A frame, so that the signature names the columns and features are bound by name."""
    rows = table[COLUMNS].dropna().head(2)
    path.write_text(json.dumps({"columns": COLUMNS, "data": rows.values.tolist()}))


def predict(url):
    rows = [{"driver_id": driver, "trip_km": km} for driver, km in zip(DRIVERS, KM, strict=True)]
    answer = requests.post(f"{url}/v1/models/{MODEL}/predict", json={"rows": rows, "explain": True}, timeout=10)
    answer.raise_for_status()
    return answer.json()


def predict_with(version, url, patience):
    """The answer of that version, once it serves."""
    deadline = time.monotonic() + patience
    while (answer := predict(url))["model"]["version"] != version:
        if time.monotonic() > deadline:
            sys.exit(f"{url} still answers with version {answer['model']['version']}; /v1/models says why")
        time.sleep(0.2)
    return answer


def own_scores(regressor, answer):
    """The same rows in this process, with the features that the server found."""
    features = {name.split(":")[1]: feature["values"] for name, feature in answer["features"].items()}
    table = pd.DataFrame({name: features[name] for name in FEATURES} | {"trip_km": KM})
    return regressor.predict(matrix(table))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entities", default="features/trips.parquet", help="labelled rows: keys, times, and the label")
    parser.add_argument("--out", type=Path, default=Path(".terrarium/trained"), help="where training set and model are put")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server that is to serve it")
    parser.add_argument("--registry-uri", help="an MLflow server; without it the configured registry")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--patience", type=float, default=60, help="seconds until the server must have it")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    training_set, graph, example = (given.out / name for name in ("train.parquet", "model.onnx", "example.json"))

    made = terrarium("features", "historical", "--service", SERVICE, "--entities", given.entities, "--out", training_set)
    table = pd.read_parquet(training_set)
    print(f"training set: {made['n_rows']} rows, definitions {made['metadata']['terrarium.definitions'][:12]}")

    regressor = train(table, given.seed)
    to_onnx(regressor, graph)
    input_example(table, example)

    order = ["models", "register", graph, "--name", MODEL, "--alias", ALIAS, "--features", SERVICE]
    order += ["--input-example", example, "--tag", f"terrarium.definitions={made['metadata']['terrarium.definitions']}"]
    order += ["--registry-uri", given.registry_uri] if given.registry_uri else []
    version = terrarium(*order)["version"]
    print(f"registered: {MODEL}:{version}, alias {ALIAS}")

    answer = predict_with(version, given.url, given.patience)
    served, own = np.array(answer["outputs"][LABEL]), own_scores(regressor, answer)
    print(f"served by {MODEL}:{version}:")
    for driver, *scores in zip(DRIVERS, served, own, strict=True):
        print(f"  driver {driver}: {scores[0]:.7f}, in this process {scores[1]:.7f}")
    if not np.allclose(served, own, rtol=0, atol=1e-6):
        sys.exit("what is served is not what was trained")


if __name__ == "__main__":
    main()
