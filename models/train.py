"""Trains the demo models and saves them in MLflow model format: models/<name>/<version>/.

The training sets are point-in-time joins that the real Feast makes of features/trips.parquet, with the same feature
services that serving uses. Needs an applied feature_repo/registry.db; `dev/record-demo` does all steps in order.
"""

import shutil
import warnings
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pandas as pd
import yaml
from feast import FeatureStore
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Map
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODELS = Path(__file__).resolve().parent
CHECKOUT = MODELS.parent
OPSETS = {"": 18, "ai.onnx.ml": 3}
N_RATINGS = 4  # length of driver_profile:recent_ratings


def training_set(service):
    """The labelled trips with the features of `service` as they were known when the trip was asked for."""
    store = FeatureStore(repo_path=str(CHECKOUT / "feature_repo"))
    trips = pd.read_parquet(CHECKOUT / "features" / "trips.parquet")
    trips["rider_id"] = trips["customer_id"]
    joined = store.get_historical_features(
        entity_df=trips, features=store.get_feature_service(service), full_feature_names=True
    )
    return joined.to_df().sort_values("trip_id").reset_index(drop=True)


def matrix(table, columns):
    """Columns as float32, which is what the graph will see; a missing value is NaN."""
    return table[columns].astype("float64").to_numpy().astype(np.float32)


def to_onnx(estimator, name, n_columns, outputs, options=None):
    model = convert_sklearn(
        estimator,
        name=name,
        initial_types=[("input", FloatTensorType([None, n_columns]))],
        target_opset=OPSETS,
        options=options,
    )
    renamed = {new: f"{new}_inner" for new in outputs}  # the converter may have used the name inside
    renamed.update({old.name: new for old, new in zip(model.graph.output, outputs, strict=True)})
    for node in model.graph.node:
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed.get(value, value) for value in node.output]
    for output in model.graph.output:
        output.name = renamed[output.name]
    onnx.checker.check_model(model)
    return model


def save(model, name, version, signature, input_example, features, session_options=None):
    directory = MODELS / name / str(version)
    shutil.rmtree(directory, ignore_errors=True)
    mlflow.onnx.save_model(
        model, str(directory), signature=signature, input_example=input_example, onnx_session_options=session_options
    )
    (directory / "tags.yaml").write_text(yaml.safe_dump({"terrarium.features": features}))
    print(f"models/{name}/{version}: model.onnx {(directory / 'model.onnx').stat().st_size} bytes")


def save_aliases(name, **aliases):
    (MODELS / name / "aliases.yaml").write_text(yaml.safe_dump(aliases))


def columns_signature(columns, outputs):
    return ModelSignature(inputs=Schema([ColSpec(DataType.double, c) for c in columns]), outputs=Schema(outputs))


def driver_ranking():
    """Regressor over one matrix; mixes features with `trip_km`, which comes with the request."""
    columns = ["conv_rate", "acc_rate", "avg_daily_trips", "trip_km"]
    table = training_set("driver_ranking_v1").rename(columns=lambda c: c.removeprefix("driver_hourly_stats__"))
    signature = columns_signature(columns, [ColSpec(DataType.float, "score")])
    example = pd.DataFrame([[0.5, 0.9, 12.0, 3.2], [np.nan, 0.75, 20.0, 7.5]], columns=columns)

    def train(rows, n_trees, seed):
        regressor = HistGradientBoostingRegressor(
            max_iter=n_trees, max_leaf_nodes=8, min_samples_leaf=10, early_stopping=False, random_state=seed
        )
        regressor.fit(matrix(rows, columns), rows["score"])
        return to_onnx(regressor, "driver_ranking", len(columns), ["score"])

    first_days = table[table["event_timestamp"] < pd.Timestamp("2026-11-12", tz="UTC")]
    refs = ",".join(f"driver_hourly_stats:{c}" for c in columns if c != "trip_km")
    save(train(first_days, 25, 1), "driver_ranking", 1, signature, example, refs)
    save(train(table, 40, 2), "driver_ranking", 2, signature, example, "driver_ranking_v1")
    save_aliases("driver_ranking", champion=2, challenger=1)


def trip_acceptance():
    """Classifier fed by three views and nothing else. `rating` is in two of them, so these columns carry the view."""
    sources = {
        "conv_rate": "driver_hourly_stats__conv_rate",
        "acc_rate": "driver_hourly_stats__acc_rate",
        "lifetime_trips": "rider__lifetime_trips",
        "avg_tip": "rider__avg_tip",
        "churn_risk": "rider__churn_risk",
        "rider__rating": "rider__rating",
        "trips_together": "driver_customer_affinity__trips_together",
        "driver_customer_affinity__rating": "driver_customer_affinity__rating",
    }
    table = training_set("trip_acceptance_v1")
    x, y = matrix(table, list(sources.values())), table["accepted"].to_numpy()
    classifier = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(random_state=3))
    classifier.fit(x, y)
    model = to_onnx(
        classifier, "trip_acceptance", len(sources), ["label", "probabilities"],
        options={id(classifier): {"zipmap": True}},
    )
    signature = columns_signature(
        sources, [ColSpec(DataType.long, "label"), ColSpec(Map(DataType.float), "probabilities")]
    )
    example = pd.DataFrame(x[:2].astype("float64"), columns=list(sources))
    save(model, "trip_acceptance", 1, signature, example, "trip_acceptance_v1")
    save_aliases("trip_acceptance", champion=1)


def trip_eta():
    """Regressor over one tensor, filled with the features in the order of the service; a list fills four places."""
    table = training_set("trip_eta_v1")
    nothing = [np.nan] * N_RATINGS
    ratings = np.array([nothing if r is None else list(r) for r in table["driver_profile__recent_ratings"]], np.float32)
    x = np.hstack([
        matrix(table, ["driver_hourly_stats__avg_daily_trips"]),
        ratings,
        matrix(table, ["driver_profile__years_active", "rider__rating"]),
    ])
    regressor = make_pipeline(
        SimpleImputer(strategy="median"),
        GradientBoostingRegressor(n_estimators=30, max_depth=3, learning_rate=0.2, random_state=4),
    )
    y = table["eta_min"].to_numpy()
    regressor.fit(x, y)
    model = to_onnx(regressor, "trip_eta", x.shape[1], ["eta_min"])
    signature = infer_signature(x, {"eta_min": y[:2].reshape(-1, 1).astype(np.float32)})
    # With more threads ONNX Runtime adds up the trees of more than 50 rows in another order: other last bits.
    one_thread = {"intra_op_num_threads": 1}
    save(model, "trip_eta", 1, signature, x[:2], "trip_eta_v1", one_thread)
    save_aliases("trip_eta", champion=1)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    driver_ranking()
    trip_acceptance()
    trip_eta()
