"""Common to all compat suites: one time zone, and one clear line instead of a hundred failures when something is missing."""

import os
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

# Feast's SQLite store keeps timestamps in the local time zone of the process that writes; server and clients share this one.
os.environ["TZ"] = "UTC"
time.tzset()


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    binary = Path(os.environ.setdefault("TERRARIUM_BIN", str(CHECKOUT / "target" / "debug" / "terrarium")))
    if not os.access(binary, os.X_OK):
        pytest.exit(f"{binary} is missing: build it with `cargo build`, or name another one in TERRARIUM_BIN", returncode=2)
    missing = [name for name in ("TERRARIUM_REDIS", "TERRARIUM_POSTGRES") if not os.environ.get(name)]
    if missing:
        pytest.exit(f"{missing[0]} is not set: run `dev/services up`, then `. .terrarium/services.env`", returncode=2)
