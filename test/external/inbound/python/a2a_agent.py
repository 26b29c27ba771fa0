"""An agent on the official A2A SDK. It forwards nothing by hand: opentelemetry-instrument runs it."""

import asyncio
import json
import os
import random
from contextlib import asynccontextmanager

import httpx
from a2a.helpers import new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.request_handlers import DefaultRequestHandlerV2
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from backend import whoami

clients = {}


class Executor(AgentExecutor):
    """Runs in a task of the SDK, and not in the one of the HTTP request."""

    async def execute(self, context: RequestContext, event_queue) -> None:
        await asyncio.sleep(random.uniform(0, 0.02))
        found = await whoami(clients["backend"])
        await event_queue.enqueue_event(new_text_message(json.dumps(found)))

    async def cancel(self, context: RequestContext, event_queue) -> None:
        raise NotImplementedError


card = AgentCard(
    name="agent",
    description="Tells which user its backend sees.",
    version="1.0.0",
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    capabilities=AgentCapabilities(streaming=True),
    supported_interfaces=[
        AgentInterface(url=os.environ["AGENT_URL"], protocol_binding="JSONRPC", protocol_version="1.0")
    ],
    skills=[AgentSkill(id="whoami", name="whoami", description="Tells the user.", tags=["test"])],
)


@asynccontextmanager
async def lifespan(app: Starlette):
    async with httpx.AsyncClient(timeout=120) as client:
        clients["backend"] = client
        yield


async def healthz(request):
    return JSONResponse({})


handler = DefaultRequestHandlerV2(agent_executor=Executor(), task_store=InMemoryTaskStore(), agent_card=card)
routes = [
    Route("/healthz", healthz),
    *create_agent_card_routes(card),
    *create_jsonrpc_routes(handler, "/"),
]
app = Starlette(routes=routes, lifespan=lifespan)
