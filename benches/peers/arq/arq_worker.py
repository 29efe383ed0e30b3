"""arq's worker in the settings that are fastest for it. `ping` does nothing; `predict` does what ours does, as a Python
application would: features by Feast from the same online store, the graph by ONNX Runtime. No audit, no checks."""

import os
from pathlib import Path

import numpy
import onnxruntime
from arq.connections import RedisSettings
from feast import FeatureStore

ROOT = Path(__file__).parents[3]
# Feast's columns and the request's, in the order in which the model's one matrix takes them.
COLUMNS = ("conv_rate", "acc_rate", "avg_daily_trips", "trip_km")


async def startup(ctx):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = ROOT / "models" / "driver_ranking" / "2" / "model.onnx"
    ctx["session"] = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    ctx["store"] = FeatureStore(ROOT / "feature_repo", fs_yaml_file=ROOT / "feature_repo" / "feature_store.redis.yaml")
    ctx["service"] = ctx["store"].get_feature_service("driver_ranking_v1")


async def ping(ctx, value=None):
    return value


async def predict(ctx, model, request):
    columns = ctx["store"].get_online_features(ctx["service"], request["entities"]).to_dict() | request["inputs"]
    matrix = numpy.array([columns[name] for name in COLUMNS], dtype=numpy.float32).T
    session = ctx["session"]
    (score, *_) = session.run(None, {session.get_inputs()[0].name: matrix})
    return {"outputs": {"score": [float(value) for value in score.ravel()]}}


class Settings:
    functions = [ping, predict]
    on_startup = startup
    redis_settings = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
    poll_delay = float(os.environ["BENCH_POLL"])
    max_jobs = 100
    queue_read_limit = 1000
    health_check_interval = 1
    log_results = False
