"""Terrarium over the models of the fixtures: one that echoes every datatype, and those recorded from MLflow."""

import shutil

import pytest
from terrarium_process import CHECKOUT, Terrarium


@pytest.fixture(scope="session")
def terrarium(tmp_path_factory):
    directory = tmp_path_factory.mktemp("oip")
    models = directory / "models"
    shutil.copytree(CHECKOUT / "tests/fixtures/models/echo", models / "echo")
    for name in ("rank3", "multi_tensor", "nan_out", "clf_on_tensor"):
        shutil.copytree(CHECKOUT / "tests/fixtures/mlflow/models" / name, models / name / "1")
    environment = {"TERRARIUM__REGISTRY__LOCAL__PATH": str(models), "TERRARIUM__FEATURES__REPO": ""}
    with Terrarium(directory, environment) as server:
        yield server
