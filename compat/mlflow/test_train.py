"""`examples/train/train.py` from end to end: training set, training, registration with a real MLflow server, live."""

import json
import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow.parquet as pq
from demo_process import demo_copy
from serving import serve
from terrarium_process import CHECKOUT, binary, onnx_runtime, run

MODEL, SERVICE = "driver_ranking", "driver_ranking_v1"
FEATURES = ["conv_rate", "acc_rate", "avg_daily_trips"]
# Also one whose features are too old, one without any, one that nobody knows.
DRIVERS, KM = [1001, 1002, 1005, 1007, 1010, 4], [3.2, 0.4, 11.0, 7.5, 2.0, 5.5]


def test_the_example_trains_registers_and_serves(tmp_path, server):
    directory = demo_copy(tmp_path)
    registered = command(directory, "models", "register", "models/driver_ranking/2", "--name", MODEL, "--alias", "champion",
                         "--features", SERVICE, "--registry-uri", server.uri)
    with serve(directory, server.uri) as terrarium:
        before = predict(terrarium)
        assert before["model"]["version"] == registered["version"]

        done = train(directory, terrarium, server)
        assert done.returncode == 0, done.stdout + done.stderr + terrarium.log_tail()

        version = server.client().get_model_version_by_alias(MODEL, "champion")
        assert version.version != registered["version"]
        assert version.tags["terrarium.features"] == SERVICE
        after = predict(terrarium)
        assert after["model"] == {"name": MODEL, "version": version.version, "alias": "champion"}
        served = np.array(after["outputs"]["score"])
        assert not np.allclose(served, before["outputs"]["score"], atol=1e-3)
        assert np.allclose(served, own_scores(directory), rtol=0, atol=1e-6)

    # The version names the definitions that its training set was made of.
    training_set = pq.read_table(directory / ".terrarium" / "trained" / "train.parquet")
    assert training_set.num_rows == len(pd.read_parquet(directory / "features" / "trips.parquet"))
    definitions = training_set.schema.metadata[b"terrarium.definitions"].decode()
    assert len(definitions) == 64 and version.tags["terrarium.definitions"] == definitions


def train(directory, terrarium, server):
    script = [sys.executable, str(CHECKOUT / "examples" / "train" / "train.py")]
    options = ["--url", f"http://{terrarium.address}", "--registry-uri", server.uri]
    environment = os.environ | onnx_runtime() | {"TERRARIUM": str(binary())}
    return subprocess.run([*script, *options], cwd=directory, env=environment, capture_output=True, text=True, timeout=300)


def predict(terrarium):
    rows = [{"driver_id": driver, "trip_km": km} for driver, km in zip(DRIVERS, KM, strict=True)]
    response = terrarium.predict(MODEL, {"rows": rows})
    assert response.status_code == 200, response.text
    return response.json()


def own_scores(directory):
    """The model that the script wrote, on the features of the online store."""
    drivers = ",".join(map(str, DRIVERS))
    found = command(directory, "features", "get", "--service", SERVICE, "--entity", f"driver_id={drivers}")["features"]
    columns = {name.split(":")[1]: feature["values"] for name, feature in found.items()}
    table = pd.DataFrame({name: columns[name] for name in FEATURES} | {"trip_km": KM})
    x = table.astype("float64").to_numpy().astype(np.float32)
    session = onnxruntime.InferenceSession(directory / ".terrarium" / "trained" / "model.onnx")
    return session.run(["score"], {"input": x})[0].ravel()


def command(directory, *arguments):
    done = run(directory, *arguments, "--json", environment=onnx_runtime())
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
