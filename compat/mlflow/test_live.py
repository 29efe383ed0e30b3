"""An alias moved in MLflow moves the traffic; MLflow away, hanging or failing changes nothing for callers."""

import time

import pytest
from serving import serve, version_of
from faults import Faults
from mlflow_process import until
from traffic import Traffic
from zoo import linear_columns, log

MODEL = "linear"
EVENTS = ["registered_model.created", "model_version.created", "model_version_alias.created", "model_version_alias.deleted"]
SECRET = "a shared secret"
OUTAGE_S = 3
SLOWEST_S = 2  # of a call, on a machine that runs other tests beside this one


@pytest.fixture
def two_versions(server):
    """Version N answers with the bias N; `champion` is 1."""
    for bias in (1, 2):
        assert log(MODEL, linear_columns(bias=bias)) == str(bias)
    server.client().set_registered_model_alias(MODEL, "champion", "1")
    return server


def move(server, version):
    server.client().set_registered_model_alias(MODEL, "champion", str(version))


def check(traffic, versions):
    """Nobody was failed, and every answer is that of the version it names."""
    assert not traffic.failed(), traffic.failed()[:3]
    assert traffic.versions() == versions
    assert all(score == 1.5 + int(version) for _, version, score, *_ in traffic.answers)
    assert traffic.slowest() < SLOWEST_S


def test_a_moved_alias_is_followed_by_polling(two_versions, tmp_path):
    with serve(tmp_path / "terrarium", two_versions.uri) as terrarium, Traffic(terrarium, MODEL) as traffic:
        for version in (2, 1, 2):
            move(two_versions, version)
            until(lambda version=version: version_of(terrarium, MODEL) == str(version), what="the swap")
    check(traffic, {"1", "2"})


def test_a_new_version_and_a_new_model_go_live(two_versions, tmp_path):
    with serve(tmp_path / "terrarium", two_versions.uri) as terrarium:
        assert log(MODEL, linear_columns(bias=3)) == "3"
        move(two_versions, 3)
        log("another", linear_columns())
        two_versions.client().set_registered_model_alias("another", "champion", "1")
        until(lambda: version_of(terrarium, MODEL) == "3", what="the swap")
        until(lambda: terrarium.get("/v1/models/another").status_code == 200, what="the new model")
        until(lambda: version_of(terrarium, "another") == "1", what="its version")


def test_a_moved_alias_is_followed_by_webhook(two_versions, tmp_path):
    """Polling is off: only MLflow's own delivery can tell."""
    settings = {"TERRARIUM__SERVING__WEBHOOK__SECRET": SECRET}
    with serve(tmp_path / "terrarium", two_versions.uri, poll="0s", **settings) as terrarium:
        url = f"http://{terrarium.address}/v1/webhooks/mlflow"
        client = two_versions.client()
        webhook = client.create_webhook("terrarium", url, EVENTS, secret=SECRET)
        tested = client.test_webhook(webhook.webhook_id)
        assert tested.success, f"{tested}\n{terrarium.log_tail()}"
        with Traffic(terrarium, MODEL) as traffic:
            for version in (2, 1):
                move(two_versions, version)
                until(lambda version=version: version_of(terrarium, MODEL) == str(version), what="the swap")
        check(traffic, {"1", "2"})


def test_a_webhook_with_another_secret_moves_nothing(two_versions, tmp_path):
    settings = {"TERRARIUM__SERVING__WEBHOOK__SECRET": SECRET}
    with serve(tmp_path / "terrarium", two_versions.uri, poll="0s", **settings) as terrarium:
        url = f"http://{terrarium.address}/v1/webhooks/mlflow"
        client = two_versions.client()
        webhook = client.create_webhook("forged", url, EVENTS, secret="another secret")
        tested = client.test_webhook(webhook.webhook_id)
        assert not tested.success and tested.response_status in (401, 403), tested
        move(two_versions, 2)
        time.sleep(2)  # nothing is awaited: the delivery comes and has no effect
        assert version_of(terrarium, MODEL) == "1"


def paused(server, _):
    server.pause()
    return server.resume


def killed(server, _):
    server.kill()
    return server.start


def failing(_, faults):
    faults.failing = True

    def end():
        assert faults.n_failed, "nobody asked meanwhile"
        faults.failing = False

    return end


@pytest.mark.parametrize("outage", [paused, killed, failing])
def test_callers_do_not_notice_that_mlflow_is(two_versions, tmp_path, outage):
    with Faults(two_versions) as faults, serve(tmp_path / "terrarium", faults.uri) as terrarium:
        with Traffic(terrarium, MODEL) as traffic:
            time.sleep(0.5)
            end = outage(two_versions, faults)
            time.sleep(OUTAGE_S)
            end()
        check(traffic, {"1"})
        assert terrarium.get("/readyz").status_code == 200
        move(two_versions, 2)
        until(lambda: version_of(terrarium, MODEL) == "2", 60, "the swap after the outage")


def test_a_start_without_mlflow_serves_what_served_last(two_versions, tmp_path):
    with serve(tmp_path / "terrarium", two_versions.uri) as terrarium:
        move(two_versions, 2)
        until(lambda: version_of(terrarium, MODEL) == "2", what="the swap")
    two_versions.kill()
    with serve(tmp_path / "terrarium", two_versions.uri) as terrarium:
        assert version_of(terrarium, MODEL) == "2"
        assert terrarium.get("/v1/models").json()["registry"]["served_from"] == "last_known_good"
        two_versions.start()
        move(two_versions, 1)
        until(lambda: version_of(terrarium, MODEL) == "1", 60, "the swap after MLflow came back")
