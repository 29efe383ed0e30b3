"""`terrarium audit replay`: the recorded feature vectors decide, not what the stores hold today."""

import json

import pytest
from demo_process import demo_copy
from terrarium_process import Terrarium, onnx_runtime, run

ROWS = [{"driver_id": driver, "trip_km": 0.1 * driver % 7} for driver in range(1001, 1040)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A demo whose predictions were recorded into files."""
    directory = demo_copy(tmp_path_factory.mktemp("demo"))
    with Terrarium(directory, {}) as terrarium:
        bodies = [{"rows": ROWS[at : at + 3]} for at in range(0, len(ROWS), 3)]
        bodies += [{"entities": {"driver_id": row["driver_id"]}, "inputs": {"trip_km": [row["trip_km"]]}} for row in ROWS[:10]]
        for body in bodies:
            answer = terrarium.predict("driver_ranking", body)
            assert answer.ok, answer.text
    return directory


@pytest.fixture
def changed(tmp_path):
    """The same models over a store that holds other values."""
    return demo_copy(tmp_path, ("2026-10-01T00:00:00Z", "2026-11-20T00:00:00Z"))


def replay(directory, recorded, model, *arguments):
    done = run(directory, "--json", "audit", "replay", "--model", model, "--from", "files", "--directory", recorded / "audit", *arguments, environment=onnx_runtime())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def predicted_today(directory, trail):
    environment = onnx_runtime() | {"TERRARIUM__AUDIT__FILE__DIRECTORY": str(trail / "audit")}
    done = run(directory, "--json", "predict", "driver_ranking", "-e", "driver_id=1005", "--input", "trip_km=1", environment=environment)
    return json.loads(done.stdout)["outputs"]


def test_the_same_version_answers_the_same_to_the_last_bit(recorded, changed, tmp_path):
    today = [predicted_today(directory, tmp_path) for directory in (recorded, changed)]
    assert today[0] != today[1], "the stores hold the same"
    for directory in (recorded, changed):
        summary = replay(directory, recorded, "driver_ranking@champion")
        assert summary["n_rows"] == 39 + 10
        assert (summary["n_equal"], summary["n_flips"], summary["left_out"], summary["worst"]) == (49, 0, {}, [])


def test_another_version_is_compared_and_reported(recorded, tmp_path):
    report = tmp_path / "report.html"
    summary = replay(recorded, recorded, "driver_ranking@challenger", "--report", report)
    assert summary["n_rows"] == 49 and summary["n_equal"] < 49
    assert summary["worst"] and all(case["recorded"] != case["replayed"] for case in summary["worst"])
    (score,) = summary["outputs"].values()
    assert score["change"]["max"] >= score["change"]["p50"] > 0
    assert "Replay on driver_ranking@challenger" in report.read_text()
