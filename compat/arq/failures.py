"""Exceptions in MessagePack and JSON, for clients that want classes rather than text; docs/jobs.md shows this file."""

import asyncio
import builtins

from arq.worker import JobExecutionFailed

CLASSES = {
    "ValueError", "TypeError", "KeyError", "IndexError", "LookupError", "RuntimeError", "OSError", "PermissionError",
    "FileNotFoundError", "ConnectionError", "TimeoutError", "MemoryError", "NotImplementedError", "Exception",
}


def encode(value):
    if isinstance(value, BaseException):
        message = str(value.args[0]) if len(value.args) == 1 else str(value)
        return {"__exc__": type(value).__name__, "msg": message}
    raise TypeError(type(value).__name__)


def decode(pairs):
    name = pairs.get("__exc__")
    if not isinstance(name, str):
        return pairs
    arguments = [pairs["msg"]] if pairs.get("msg") else []
    if name == "CancelledError":
        return asyncio.CancelledError(*arguments)
    if name == "JobExecutionFailed":
        return JobExecutionFailed(*arguments)
    return getattr(builtins, name)(*arguments) if name in CLASSES else JobExecutionFailed(f"{name}: {pairs.get('msg')}")
