"""The main API of a product: it ranks drivers for a trip, and says whether one takes a customer.

`POST /rank` awaits the model over the arq queue, as this application awaits all of its background work; `POST /acceptance`
calls it over HTTP. Both answer what the model said, in the application's own words.
"""

import os
from contextlib import asynccontextmanager

import httpx
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import JobExecutionFailed
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TERRARIUM_URL = os.environ.get("TERRARIUM_URL", "http://127.0.0.1:8080")
ANSWER_WITHIN_S = 5
# arq looks for the result that often. Its default of half a second would be the answer's time.
POLL_DELAY_S = 0.02


class Trip(BaseModel):
    drivers: list[int] = Field(min_length=1, max_length=100)
    km: float = Field(gt=0)


class Ride(BaseModel):
    driver: int
    customer: str


@asynccontextmanager
async def connections(app):
    app.state.queue = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    async with httpx.AsyncClient(base_url=TERRARIUM_URL, timeout=ANSWER_WITHIN_S, trust_env=False) as models:
        app.state.models = models
        yield
    await app.state.queue.aclose()


app = FastAPI(title="Main API", lifespan=connections)


@app.post("/rank")
async def rank(trip: Trip, request: Request):
    """Drivers, the best one first."""
    body = {"entities": {"driver_id": trip.drivers}, "inputs": {"trip_km": trip.km}}
    queue = request.app.state.queue
    job = await queue.enqueue_job("predict", "driver_ranking", body, traceparent=request.headers.get("traceparent"))
    try:
        answer = await job.result(timeout=ANSWER_WITHIN_S, poll_delay=POLL_DELAY_S)
    except JobExecutionFailed as error:
        raise HTTPException(502, detail=f"the model refused: {error}") from error
    except TimeoutError as error:
        raise HTTPException(504, detail="the model did not answer in time") from error
    (scores,) = answer["outputs"].values()
    ranked = sorted(zip(trip.drivers, scores), key=lambda pair: pair[1], reverse=True)
    return {"model_version": answer["model"]["version"], "drivers": [{"driver": d, "score": s} for d, s in ranked]}


@app.post("/acceptance")
async def acceptance(ride: Ride, request: Request):
    """How likely the driver takes the customer."""
    body = {"entities": {"driver_id": [ride.driver], "customer_id": [ride.customer]}}
    answer = await request.app.state.models.post("/v1/models/trip_acceptance/predict", json=body)
    if answer.is_error:
        raise HTTPException(502, detail=answer.json()["detail"])
    return {"model_version": answer.json()["model"]["version"], "outputs": answer.json()["outputs"]}
