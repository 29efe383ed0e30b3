"""A real arq worker in this process, for as long as a block lasts."""

import asyncio
from contextlib import asynccontextmanager

from arq.connections import RedisSettings
from arq.worker import Worker, func


async def add(ctx, x, y=0, *, scale=1):
    return (x + y) * scale


async def echo(ctx, *args, **kwargs):
    return [list(args), kwargs]


async def boom(ctx, text):
    raise ValueError(text)


@asynccontextmanager
async def python_worker(url, codec, functions=(add, echo, boom), **options):
    settings = {"poll_delay": 0.01, "handle_signals": False, "allow_abort_jobs": True} | options
    worker = Worker(
        functions=[func(function, name=function.__name__) for function in functions],
        redis_settings=RedisSettings.from_dsn(url),
        **codec.settings,
        **settings,
    )
    task = asyncio.ensure_future(worker.async_run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.close()
