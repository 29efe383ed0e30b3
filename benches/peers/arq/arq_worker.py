"""arq's worker in the settings that are fastest for it; its functions do nothing."""

import os

from arq.connections import RedisSettings


async def ping(ctx, value=None):
    return value


async def predict(ctx, model, request):
    return None


class Settings:
    functions = [ping, predict]
    redis_settings = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
    poll_delay = float(os.environ["BENCH_POLL"])
    max_jobs = 100
    queue_read_limit = 1000
    health_check_interval = 1
    log_results = False
