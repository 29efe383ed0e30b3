"""`terrarium serve` on a copy of the demo, its features materialized by itself."""

import shutil

from terrarium_process import CHECKOUT, Terrarium, onnx_runtime, run

DAYS = ("2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z")


def demo_copy(directory, days=DAYS):
    """Models, features and registry of the demo in a directory of the test's own; the online store has what was between those days."""
    for part in ("models", "features", "feature_repo"):
        shutil.copytree(CHECKOUT / part, directory / part, ignore=shutil.ignore_patterns("data"))
    done = run(directory, "features", "materialize", *days, environment=onnx_runtime())
    assert done.returncode == 0, done.stderr
    return directory


def serve(directory, brokers, topic, environment=None, **settings):
    """A server whose audit events go to a topic that it makes. `settings` are below `audit.kafka`; `None` unsets one."""
    own = {
        "TERRARIUM__AUDIT__FILE__DIRECTORY": str(directory / "audit"),
        # One for each topic: what another test left undelivered shall not come here.
        "TERRARIUM__AUDIT__SPOOL__DIRECTORY": str(directory / "spool" / topic),
        "TERRARIUM__AUDIT__KAFKA__BROKERS": brokers,
        "TERRARIUM__AUDIT__KAFKA__TOPIC": topic,
    }
    settings = {"create_topics__partitions": 2} | settings
    own |= {f"TERRARIUM__AUDIT__KAFKA__{name.upper()}": str(value) for name, value in settings.items() if value is not None}
    return Terrarium(directory, own | (environment or {}))


def calls():
    """(model, body): one driver, several, rows, a model without features, and calls that fail."""
    return [
        ("driver_ranking", {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": [3.2]}}),
        ("driver_ranking", {"entities": {"driver_id": [1001, 1002, 4242]}, "inputs": {"trip_km": [3.2, 7.5, 1.0]}}),
        ("driver_ranking", {"rows": [{"driver_id": 1003, "trip_km": 0.5}, {"driver_id": 1004, "trip_km": 1.5}]}),
        ("driver_ranking", {"entities": {"driver_id": [1001]}, "inputs": {"trip_km": ["no number"]}}),
        ("nobody", {"inputs": {"x": [1]}}),
    ]
