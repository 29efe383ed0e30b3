"""What `terrarium models register` registered, real MLflow loads, predicts and shows as complete; and Terrarium serves it."""

import json

import mlflow
import numpy as np
import onnx
import onnxruntime
import pytest
from serving import invocations, serve
from terrarium_process import onnx_runtime, run
from test_logged_models import body_of
from zoo import ZOO, log


def register(tmp_path, server, *arguments):
    done = run(tmp_path, "models", "register", *arguments, "--registry-uri", server.uri, "--json", environment=onnx_runtime())
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def save_graph(tmp_path, name):
    path = tmp_path / f"{name}.onnx"
    onnx.save(ZOO[name]().graph, path)
    return path


@pytest.mark.parametrize("name", ["linear_tensor", "several_tensors", "classifier", "mixed_columns"])
def test_a_registered_graph_loads_and_predicts_in_mlflow(tmp_path, server, unique, name):
    (tmp_path / "models").mkdir()
    path = save_graph(tmp_path, name)
    registered = unique(name)
    printed = register(tmp_path, server, path, "--name", registered, "--alias", "champion", "--tag", "team=rides")
    uri = f"models:/{registered}@champion"
    assert str(printed["version"]) == "1", printed

    graph = mlflow.onnx.load_model(uri)
    onnx.checker.check_model(graph)
    session = onnxruntime.InferenceSession(path)
    feed = feed_of(ZOO[name]().example, session)
    wanted = dict(zip([output.name for output in session.get_outputs()], session.run(None, feed), strict=True))
    again = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, feed)
    assert all(same(*pair) for pair in zip(again, wanted.values(), strict=True))

    model = mlflow.pyfunc.load_model(uri)
    assert model.metadata.signature is not None
    given = feed if len(feed) > 1 else next(iter(feed.values()))
    predicted = model.predict(given)
    assert all(same(predicted[output], value) for output, value in wanted.items())


def test_mlflow_shows_what_was_registered_as_complete(tmp_path, server, unique):
    (tmp_path / "models").mkdir()
    graph, name = "linear_tensor", unique("linear_tensor")
    told = ["--alias", "champion", "--tag", "team=rides", "--description", "a line"]
    register(tmp_path, server, save_graph(tmp_path, graph), "--name", name, *told)
    client = server.client()
    version = client.get_model_version_by_alias(name, "champion")
    assert (version.status, version.description, version.tags["team"]) == ("READY", "a line", "rides")
    assert client.get_registered_model(name).aliases == {"champion": version.version}
    model_id = version.source.removeprefix("models:/")
    logged = client.get_logged_model(model_id)
    assert str(logged.status) in ("READY", "LoggedModelStatus.READY")
    files = {file.path: file.file_size for file in client.list_logged_model_artifacts(model_id)}
    assert {"MLmodel", "model.onnx", "conda.yaml", "python_env.yaml", "requirements.txt"} <= set(files)
    assert files["model.onnx"] > 0
    run_ = client.get_run(version.run_id)
    assert run_.info.status == "FINISHED"
    assert [output.model_id for output in run_.outputs.model_outputs] == [model_id]
    info = mlflow.models.get_model_info(f"models:/{name}@champion")
    assert info.signature.inputs.input_types()[0] == np.dtype("float32")
    assert info.model_uuid == model_id
    (found,) = client.search_model_versions(f"name = '{name}'")
    assert found.version == version.version


def test_it_is_served_and_a_second_run_registers_nothing_new(tmp_path, server, unique):
    (tmp_path / "models").mkdir()
    graph, name = "linear_tensor", unique("linear_tensor")
    path = save_graph(tmp_path, graph)
    register(tmp_path, server, path, "--name", name, "--alias", "champion")
    register(tmp_path, server, path, "--name", name, "--alias", "champion")
    assert len(server.client().search_model_versions(f"name = '{name}'")) == 1
    with serve(tmp_path / "terrarium", server.uri) as terrarium:
        example = ZOO[graph]().example
        status, answer = invocations(terrarium, body_of(example), f"/models/{name}/invocations")
        assert status == 200, answer
        wanted = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(example)
        assert same(np.array(answer["predictions"]["variable"], np.float32), wanted["variable"])


def test_a_directory_that_mlflow_saved_is_registered_with_what_it_says(tmp_path, server, unique):
    (tmp_path / "models").mkdir()
    made = ZOO["external_data"]()
    directory = tmp_path / "saved"
    mlflow.onnx.save_model(made.graph, str(directory), signature=made.signature, pip_requirements=["onnx", "onnxruntime"], save_as_external_data=True)
    register(tmp_path, server, directory, "--name", unique("wide"), "--alias", "champion")
    wanted = mlflow.pyfunc.load_model(str(directory)).predict(made.example)
    registered = mlflow.pyfunc.load_model(f"models:/{unique('wide')}@champion")
    assert registered.metadata.signature == made.signature
    assert same(registered.predict(made.example)["y"], wanted["y"])


def test_aliases_are_set_and_deleted(tmp_path, server, unique):
    (tmp_path / "models").mkdir()
    name = unique("linear_columns")
    log(name, ZOO["linear_columns"]())
    client = server.client()
    for command, wanted in [(["set", name, "live", "1"], {"live": "1"}), (["delete", name, "live"], {})]:
        done = run(tmp_path, "models", "alias", *command, "--registry-uri", server.uri)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {a: str(v) for a, v in client.get_registered_model(name).aliases.items()} == wanted


def feed_of(example, session):
    """The example as the graph takes it."""
    inputs = session.get_inputs()
    if isinstance(example, dict):
        return example
    if len(inputs) == 1:
        return {inputs[0].name: np.asarray(example, np.float32)}
    return {each.name: example[each.name].to_numpy(object if each.type == "tensor(string)" else None) for each in inputs}


def same(got, wanted):
    if isinstance(wanted, list):  # maps
        return [dict(each) for each in got] == [dict(each) for each in wanted]
    return np.allclose(np.asarray(got), np.asarray(wanted), rtol=1e-6)
