"""An agent on FastAPI. It forwards nothing by hand: opentelemetry-instrument runs it."""

import asyncio
import os
import random
import threading
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request

from backend import whoami, whoami_in_thread


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with httpx.AsyncClient(timeout=120) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz():
    return {}


async def pause():
    """Lets other requests run, so that those of several users alternate."""
    await asyncio.sleep(random.uniform(0, 0.02))


@app.post("/chat")
async def chat():
    await pause()
    first = await whoami(app.state.client)
    await pause()
    # A task of its own inherits the context of the request.
    second = await asyncio.create_task(whoami(app.state.client))
    third = await asyncio.to_thread(whoami_in_thread)
    return [first, second, third]


@app.post("/lost")
async def lost():
    """Calls the backend from a thread that knows nothing of the request."""
    found = {}
    thread = threading.Thread(target=lambda: found.update(whoami_in_thread()))
    thread.start()
    await asyncio.to_thread(thread.join)
    return found


@app.post("/tell")
async def tell(request: Request):
    """Tells everything that the agent was given."""
    body = (await request.body()).decode()
    headers = [[name.decode("latin1"), value.decode("latin1")] for name, value in request.headers.raw]
    return {"headers": headers, "body": body, "environment": dict(os.environ)}
