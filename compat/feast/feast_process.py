"""The real `feast serve`, over HTTP or gRPC, on a free port."""

import sys
from pathlib import Path

import grpc
from server_process import ServerProcess, free_port

FEAST = Path(sys.executable).parent / "feast"


class FeastServer(ServerProcess):
    name, ready = "feast", "/health"

    def __init__(self, repo, hash_seed=0):
        host, port = "127.0.0.1", free_port()
        self.address = f"{host}:{port}"
        command = [FEAST, "serve", "--host", host, "--port", str(port), "--max-requests", "0", "--no-access-log"]
        # The order of features within a view depends on the seed; one seed makes a failure repeatable.
        super().__init__(repo, command, {"PYTHONHASHSEED": str(hash_seed), "FEAST_USAGE": "False"})
        self.session.headers["Connection"] = "close"  # it resets connections that have waited, now and then


class FeastGrpcServer(ServerProcess):
    """`feast listen`: `feast serve --type grpc` is refused by its Python server."""

    name = "feast-grpc"

    def __init__(self, repo):
        self.grpc_address = f"127.0.0.1:{free_port()}"
        super().__init__(repo, [FEAST, "listen", "--address", self.grpc_address], {"PYTHONHASHSEED": "0"})

    def ask_ready(self):
        with grpc.insecure_channel(self.grpc_address) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=0.5)
            except grpc.FutureTimeoutError:
                return "the channel is not ready"
        return None
