"""KServe's clients, in a process of their own: they and Triton's register messages of the same names with protobuf."""

import subprocess
import sys
from pathlib import Path


def test_kserves_clients_in_their_own_process():
    cases = Path(__file__).with_name("kserve_cases.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
