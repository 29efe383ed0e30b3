"""What the suites share: repositories that Feast applied, filled by Feast or by Terrarium, and servers on top of them.

All of it lives for the session: importing Feast and starting `feast serve` take seconds each.
"""

import warnings
from contextlib import ExitStack

import pytest

warnings.filterwarnings("ignore", category=DeprecationWarning)  # of Feast, for key version 2

from feast import proto_json  # noqa: E402
from feast_process import FeastGrpcServer, FeastServer  # noqa: E402
from repository import Deployment, remove_postgres_schemas, remove_redis_keys  # noqa: E402

proto_json.patch()  # as `feast serve` does before it renders JSON

STORES = ["redis", "sqlite", "postgres"]
DEPLOYMENTS = [(store, version) for store in STORES for version in (3, 2)]


class Pair:
    """The same repository twice: Feast filled one online store, Terrarium the other. Both are served by Terrarium."""

    def __init__(self, directory, store, key_version):
        self.by_feast = Deployment(directory / "by_feast", store, key_version, "feast").apply()
        self.by_terrarium = self.by_feast.copy_to(directory / "by_terrarium", "terrarium")
        self.by_feast.materialize_with_feast()
        self.failures = self.by_terrarium.materialize_with_terrarium()
        self.running = ExitStack()
        self.servers = {}

    def terrarium(self, deployment):
        """A server on `by_feast` or `by_terrarium`, started at the first call."""
        return self.serve(deployment, "terrarium", deployment.terrarium)

    def feast(self, deployment):
        """The real `feast serve` on it."""
        return self.serve(deployment, "feast", lambda: FeastServer(deployment.repo))

    def feast_grpc(self, deployment):
        return self.serve(deployment, "feast-grpc", lambda: FeastGrpcServer(deployment.repo))

    def serve(self, deployment, name, start):
        key = deployment.writer, name
        if key not in self.servers:
            try:
                self.servers[key] = self.running.enter_context(start())
            except RuntimeError as error:  # it will not start at the next call either
                self.servers[key] = error
        if isinstance(self.servers[key], RuntimeError):
            raise self.servers[key]
        return self.servers[key]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """(store, key version) -> `Pair`, made when it is first asked for."""
    made = {}

    def pair(store, key_version=3):
        key = store, key_version
        if key not in made:
            made[key] = Pair(tmp_path_factory.mktemp(f"{store}_v{key_version}"), store, key_version)
        return made[key]

    clean_up()
    yield pair
    for pair_ in made.values():
        pair_.running.close()
    clean_up()


def clean_up():
    remove_redis_keys()
    remove_postgres_schemas()


@pytest.fixture(scope="session", params=DEPLOYMENTS, ids=lambda p: f"{p[0]}-v{p[1]}")
def pair(request, pairs):
    return pairs(*request.param)


@pytest.fixture(scope="session", params=STORES)
def store_pair(request, pairs):
    """Of each store with the present key version only."""
    return pairs(request.param)
