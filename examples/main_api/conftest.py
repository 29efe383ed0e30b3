"""The application's test uses the demo, Redis and Terrarium of the compat suites."""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "compat" / "arq"
sys.path[:0] = [str(HERE), str(SHARED), str(SHARED.parent)]

specification = importlib.util.spec_from_file_location("arq_conftest", SHARED / "conftest.py")
shared = importlib.util.module_from_spec(specification)
specification.loader.exec_module(shared)
demo, redis_server, redis_url, server = shared.demo, shared.redis_server, shared.redis_url, shared.server
