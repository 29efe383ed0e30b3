#!/usr/bin/env python3
"""Waits until the server that `make demo` starts is ready, then prints calls to try. Ends when the server ends.

    dev/announce.py ADDRESS      run by dev/demo as a child of the server
"""

import json
import os
import shlex
import sys
import time
from pathlib import Path

from server import DIRECT, READY_WITHIN_S

CALLS = Path("tests/fixtures/demo/smoke.json")


def main(address):
    if not is_ready(f"http://{address}/readyz", os.getppid()):
        return
    lines = ["", f"Terrarium is ready. Calls to try follow; Swagger UI is at http://{address}/docs, Ctrl-C stops it.", ""]
    for call in json.loads(CALLS.read_text()):
        body = shlex.quote(json.dumps(call["body"]))
        lines.append(f"curl -s http://{address}{call['path']} \\\n  -H 'Content-Type: application/json' -d {body}\n")
    print("\n".join(lines), flush=True)


def is_ready(url, server):
    deadline = time.monotonic() + READY_WITHIN_S
    while os.getppid() == server and time.monotonic() < deadline:
        try:
            with DIRECT.open(url, timeout=5):
                return os.getppid() == server
        except OSError:
            time.sleep(0.05)
    return False


main(sys.argv[1])
