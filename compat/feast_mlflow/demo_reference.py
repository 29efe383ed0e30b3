"""What the real products answer: features from `feast.get_online_features`, predictions from `mlflow.pyfunc`."""

import logging
import math
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

os.environ["TZ"] = "UTC"  # Feast writes SQLite timestamps in the local time zone
time.tzset()
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import numpy as np
import pandas as pd
import yaml
from feast import FeatureStore
from feast.type_map import feast_value_type_to_python_type
from feast.types import Array

CHECKOUT = Path(__file__).resolve().parents[2]
STORES = {"sqlite": "feature_store.yaml", "redis": "feature_store.redis.yaml"}
START, END = datetime(2026, 11, 1), datetime(2026, 11, 22)

logging.getLogger("mlflow").setLevel(logging.ERROR)  # no CUDA here: it says so at every load


def demo_copy(directory):
    """A copy of the demo's data to work on: Feast writes into the registry when it materializes."""
    for name in ("feature_repo", "features", "models"):
        ignored = shutil.ignore_patterns("data", "__pycache__")
        shutil.copytree(CHECKOUT / name, Path(directory) / name, ignore=ignored)
    return Path(directory)


def materialize(directory, store):
    """Real Feast fills the online store; for Redis the variable TERRARIUM_REDIS says where that is."""
    repo, yaml_file = directory / "feature_repo", STORES[store]
    if store == "sqlite":  # its tables are made by `apply`
        feast = Path(sys.executable).parent / "feast"
        subprocess.run([feast, "-f", yaml_file, "apply"], cwd=repo, check=True, stdout=subprocess.DEVNULL)
    FeatureStore(repo_path=str(repo), fs_yaml_file=repo / yaml_file).materialize(START, END)


class Reference:
    """Predicts as Terrarium should, in Python."""

    def __init__(self, directory, store):
        repo = Path(directory) / "feature_repo"
        self.feast = FeatureStore(repo_path=str(repo), fs_yaml_file=repo / STORES[store])
        self.models = Path(directory) / "models"
        self.loaded = {}

    def predict(self, model, request):
        """{"model", "features", "event_timestamps", "outputs"}, as values that JSON can hold."""
        name, version, alias = self.resolve(model)
        entities, inputs = request_columns(request, self.join_keys())
        n_rows = len(next(iter(entities.values())))
        refs = self.feature_refs(name, version)
        features, timestamps = self.online_features(refs, entities)
        for ref in features:
            override = inputs.get(ref.split(":")[1], inputs.get(ref.replace(":", "__")))
            if override is not None:
                features[ref], timestamps[ref] = override, [None] * n_rows
        pyfunc = self.load(name, version)
        if pyfunc.metadata.signature.inputs.is_tensor_spec():
            predictions = pyfunc.predict(self.tensor(pyfunc.metadata.signature, features))
        else:
            predictions = pyfunc.predict(table(pyfunc.metadata.signature, features, inputs))
        return {
            "model": {"name": name, "version": version, "alias": alias},
            "features": {ref: [json_value(v) for v in values] for ref, values in features.items()},
            "event_timestamps": timestamps,
            "outputs": json_outputs(predictions),
        }

    def resolve(self, model):
        """(name, version, alias) of `name`, `name@alias` or `name:version`."""
        if ":" in model:
            name, version = model.split(":")
            return name, version, None
        name, _, alias = model.partition("@")
        alias = alias or "champion"
        aliases = yaml.safe_load((self.models / name / "aliases.yaml").read_text())
        return name, str(aliases[alias]), alias

    def load(self, name, version):
        directory = self.models / name / version
        if directory not in self.loaded:
            self.loaded[directory] = mlflow.pyfunc.load_model(str(directory))
        return self.loaded[directory]

    def feature_refs(self, name, version):
        """What the version's tag asks for: a feature service, or a list of references."""
        tags = yaml.safe_load((self.models / name / version / "tags.yaml").read_text())
        wanted = tags["terrarium.features"]
        return wanted.split(",") if ":" in wanted else self.feast.get_feature_service(wanted)

    def online_features(self, refs, entities):
        """Values and event timestamps by `view:feature`, in the order of the service or list."""
        response = self.feast.get_online_features(
            features=refs,
            entity_rows=[dict(zip(entities, row, strict=True)) for row in zip(*entities.values(), strict=True)],
            full_feature_names=True,
        ).proto
        answered = dict(zip(response.metadata.feature_names.val, response.results, strict=True))
        if isinstance(refs, list):
            ordered = refs
        else:
            ordered = [f"{p.name_to_use()}:{f.name}" for p in refs.feature_view_projections for f in p.features]
        values, timestamps = {}, {}
        for ref in ordered:
            vector = answered[ref.replace(":", "__")]
            values[ref] = [feast_value_type_to_python_type(v) for v in vector.values]
            timestamps[ref] = [None if t.ToNanoseconds() == 0 else t.ToJsonString() for t in vector.event_timestamps]
        return values, timestamps

    def tensor(self, signature, features):
        """The matrix of a tensor signature: features side by side; a list takes the places that the scalars leave."""
        spec = signature.inputs.inputs[0]
        lists = {f.name for view in self.feast.list_feature_views() for f in view.features if isinstance(f.dtype, Array)}
        is_list = {ref: ref.split(":")[1] in lists for ref in features}
        list_width = spec.shape[1] - sum(not wide for wide in is_list.values())
        blocks = [matrix(values, list_width if is_list[ref] else 1) for ref, values in features.items()]
        return np.hstack(blocks).astype(spec.type)

    def join_keys(self):
        """Every name that can be an entity column, those of join key maps included."""
        keys = {key for entity in self.feast.list_entities() for key in [entity.join_key]}
        for service in self.feast.list_feature_services():
            for projection in service.feature_view_projections:
                keys.update(projection.join_key_map.values())
        return keys


def request_columns(request, join_keys):
    """(entities, inputs) as columns of equal length."""
    if "rows" in request:
        every = {name: [row[name] for row in request["rows"]] for name in request["rows"][0]}
        entities = {name: values for name, values in every.items() if name in join_keys}
        inputs = {name: values for name, values in every.items() if name not in join_keys}
    else:
        entities, inputs = dict(request["entities"]), dict(request.get("inputs", {}))
    lengths = [len(v) for v in [*entities.values(), *inputs.values()] if isinstance(v, list)]
    n_rows = lengths[0] if lengths else 1
    for columns in (entities, inputs):
        for name, value in columns.items():
            columns[name] = value if isinstance(value, list) else [value] * n_rows
    return entities, inputs


def table(signature, features, inputs):
    """The data frame of a column signature."""
    supplied = {ref.split(":")[1]: values for ref, values in features.items()}
    supplied |= {ref.replace(":", "__"): values for ref, values in features.items()} | inputs
    return pd.DataFrame({name: matrix(supplied[name])[:, 0] for name in signature.inputs.input_names()})


def matrix(values, width=1):
    """One feature as `width` columns of float64. A missing value is NaN."""
    missing = [math.nan] * width
    return np.array([missing if v is None else np.atleast_1d(v) for v in values], dtype=np.float64)


def json_outputs(predictions):
    outputs = {}
    for name in predictions:
        column = predictions[name]
        rows = column.reshape(len(column), -1) if isinstance(column, np.ndarray) else [[v] for v in column]
        outputs[name] = [json_value(row[0]) if len(row) == 1 else [json_value(v) for v in row] for row in rows]
    return outputs


def json_value(value):
    """float32 widens to float64, so that its shortest text holds every bit; NaN and infinities are strings."""
    if isinstance(value, dict):
        return {str(key): json_value(v) for key, v in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [json_value(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value
