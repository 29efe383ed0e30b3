"""An alias moved in MLflow moves the traffic; MLflow away, hanging or failing changes nothing for callers."""

import time

import pytest
from serving import serve, version_of
from faults import Faults
from mlflow_process import until
from traffic import BODY, Traffic
from zoo import linear_columns, log

EVENTS = ["registered_model.created", "model_version.created", "model_version_alias.created", "model_version_alias.deleted"]
SECRET = "a shared secret"
OUTAGE_S = 3
SLOWEST_S = 2  # of a call, on a machine that runs other tests beside this one


@pytest.fixture
def model(server, unique):
    """Version N answers with the bias N; `champion` is 1."""
    name = unique("linear")
    for bias in (1, 2):
        assert log(name, linear_columns(bias=bias)) == str(bias)
    move(server, name, 1)
    return name


def move(server, model, version):
    server.client().set_registered_model_alias(model, "champion", str(version))


def check(traffic, versions):
    """Nobody was failed, and every answer is that of the version it names."""
    assert not traffic.failed(), traffic.failed()[:3]
    assert traffic.versions() == versions
    assert all(score == 1.5 + int(version) for _, version, score, *_ in traffic.answers)
    assert traffic.slowest() < SLOWEST_S


def test_a_moved_alias_is_followed_by_polling(server, model, tmp_path):
    with serve(tmp_path / "terrarium", server.uri) as terrarium, Traffic(terrarium, model) as traffic:
        for version in (2, 1, 2):
            move(server, model, version)
            until(lambda version=version: version_of(terrarium, model) == str(version), what="the swap")
    check(traffic, {"1", "2"})


def test_a_new_version_and_a_new_model_go_live(server, model, tmp_path, unique):
    with serve(tmp_path / "terrarium", server.uri) as terrarium:
        another = unique("another")
        assert log(model, linear_columns(bias=3)) == "3"
        move(server, model, 3)
        log(another, linear_columns())
        server.client().set_registered_model_alias(another, "champion", "1")
        until(lambda: version_of(terrarium, model) == "3", what="the swap")
        until(lambda: terrarium.predict(another, BODY).status_code == 200, what="the new model")
        assert version_of(terrarium, another) == "1"


def test_a_moved_alias_is_followed_by_webhook(server, model, tmp_path):
    """Polling is off: only MLflow's own delivery can tell."""
    settings = {"TERRARIUM__SERVING__WEBHOOK__SECRET": SECRET}
    with serve(tmp_path / "terrarium", server.uri, poll="0s", **settings) as terrarium:
        url = f"http://{terrarium.address}/v1/webhooks/mlflow"
        client = server.client()
        webhook = client.create_webhook("terrarium", url, EVENTS, secret=SECRET)
        tested = client.test_webhook(webhook.webhook_id)
        assert tested.success, f"{tested}\n{terrarium.log_tail()}"
        with Traffic(terrarium, model) as traffic:
            for version in (2, 1):
                move(server, model, version)
                until(lambda version=version: version_of(terrarium, model) == str(version), what="the swap")
        check(traffic, {"1", "2"})
        client.delete_webhook(webhook.webhook_id)


def test_a_webhook_with_another_secret_moves_nothing(server, model, tmp_path):
    settings = {"TERRARIUM__SERVING__WEBHOOK__SECRET": SECRET}
    with serve(tmp_path / "terrarium", server.uri, poll="0s", **settings) as terrarium:
        url = f"http://{terrarium.address}/v1/webhooks/mlflow"
        client = server.client()
        webhook = client.create_webhook("forged", url, EVENTS, secret="another secret")
        tested = client.test_webhook(webhook.webhook_id)
        assert not tested.success and tested.response_status in (401, 403), tested
        move(server, model, 2)
        time.sleep(2)  # nothing is awaited: the delivery comes and has no effect
        assert version_of(terrarium, model) == "1"
        client.delete_webhook(webhook.webhook_id)


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
def test_callers_do_not_notice_that_mlflow_is(server, model, tmp_path, outage):
    with Faults(server) as faults, serve(tmp_path / "terrarium", faults.uri) as terrarium:
        with Traffic(terrarium, model) as traffic:
            time.sleep(0.5)
            end = outage(server, faults)
            time.sleep(OUTAGE_S)
            end()
        check(traffic, {"1"})
        assert terrarium.get("/readyz").status_code == 200
        move(server, model, 2)
        until(lambda: version_of(terrarium, model) == "2", 60, "the swap after the outage")


def test_a_start_without_mlflow_serves_what_served_last(server, model, tmp_path):
    with serve(tmp_path / "terrarium", server.uri) as terrarium:
        move(server, model, 2)
        until(lambda: version_of(terrarium, model) == "2", what="the swap")
    server.kill()
    with serve(tmp_path / "terrarium", server.uri) as terrarium:
        assert version_of(terrarium, model) == "2"
        assert terrarium.get("/v1/models").json()["registry"]["served_from"] == "last_known_good"
        server.start()
        move(server, model, 1)
        until(lambda: version_of(terrarium, model) == "1", 60, "the swap after MLflow came back")
