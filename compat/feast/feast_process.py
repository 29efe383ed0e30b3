"""The real `feast serve`, on a free port."""

import sys
from pathlib import Path

from server_process import ServerProcess, free_port

FEAST = Path(sys.executable).parent / "feast"


class FeastServer(ServerProcess):
    name, ready = "feast", "/health"

    def __init__(self, repo):
        host, port = "127.0.0.1", free_port()
        self.address = f"{host}:{port}"
        command = [FEAST, "serve", "--host", host, "--port", str(port), "--max-requests", "0", "--no-access-log"]
        # The order of features within a view depends on the seed; one seed makes a failure repeatable.
        super().__init__(repo, command, {"PYTHONHASHSEED": "0", "FEAST_USAGE": "False"})
