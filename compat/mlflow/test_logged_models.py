"""What real `mlflow.onnx.log_model` registered is served, wherever MLflow keeps the files, and predicts as `mlflow.pyfunc` does."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from compare import differences
from serving import invocations
from zoo import ZOO


@pytest.mark.parametrize("name", ZOO)
def test_a_logged_model_predicts_as_pyfunc_does(zoo, name):
    server, terrarium = zoo
    server.use()
    example = ZOO[name]().example
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    expected = answer_of(model.predict(example), isinstance(example, pd.DataFrame))
    status, answer = invocations(terrarium, body_of(example), f"/models/{name}/invocations")
    assert status == 200, f"{answer}\n{terrarium.log_tail()}"
    found = differences(answer["predictions"], expected)
    assert not found, "\n".join(found)


def test_everything_that_mlflow_registered_is_listed(zoo):
    server, terrarium = zoo
    client = server.use()
    listed = {model["name"]: model for model in terrarium.get("/v1/models").json()["models"]}
    assert set(listed) == set(ZOO)
    for name, model in listed.items():
        version = client.get_model_version_by_alias(name, "champion")
        assert model["serving"] == {"version": version.version, "alias": "champion"}, model
        (loaded,) = model["versions"]
        assert loaded["state"] == "loaded", loaded
        assert loaded["model_uuid"] == version.source.removeprefix("models:/")


def body_of(example):
    """As `/invocations` takes it."""
    if isinstance(example, pd.DataFrame):
        return {"dataframe_split": json.loads(example.to_json(orient="split", double_precision=15))}
    if isinstance(example, dict):
        return {"inputs": {name: values.tolist() for name, values in example.items()}}
    return {"inputs": example.tolist()}


def answer_of(prediction, is_table):
    """A prediction as JSON has it."""
    if isinstance(prediction, pd.DataFrame):
        prediction = {name: prediction[name].to_numpy() for name in prediction}
    columns = {name: plain(values) for name, values in prediction.items()}
    if not is_table:
        return columns
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def plain(values):
    """Lists and numbers of Python; the keys of maps are text in JSON."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [plain(value) for value in values]
    if isinstance(values, dict):
        return {str(key): plain(value) for key, value in values.items()}
    return values.item() if isinstance(values, np.generic) else values
