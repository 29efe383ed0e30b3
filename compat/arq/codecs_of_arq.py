"""The three ways in which arq's users serialize, as they set arq up for them."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

import msgpack
from arq import create_pool
from arq.connections import RedisSettings


@dataclass(frozen=True)
class Codec:
    name: str
    settings: dict[str, Callable[..., Any]]

    async def pool(self, url, **options):
        return await create_pool(RedisSettings.from_dsn(url), **self.settings, **options)


CODECS = {
    "pickle": Codec("pickle", {}),
    "msgpack": Codec("msgpack", {"job_serializer": msgpack.packb, "job_deserializer": msgpack.unpackb}),
    "json": Codec(
        "json",
        {"job_serializer": lambda value: json.dumps(value).encode(), "job_deserializer": json.loads},
    ),
}


def with_exceptions():
    """MessagePack with the decoder for failures that docs/jobs.md shows."""
    from failures import decode, encode

    settings = {
        "job_serializer": partial(msgpack.packb, default=encode),
        "job_deserializer": partial(msgpack.unpackb, object_hook=decode),
    }
    return Codec("msgpack", settings)
