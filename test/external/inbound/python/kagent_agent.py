"""An agent on kagent's runtime, which makes an agent for each request. `/shared` is one on google-adk alone, for all requests.

A scripted model calls the tool, and then repeats its result. ALLOWED_HEADERS are sent to the tool, as in kagent's config.
"""

import asyncio
import os
import random
import uuid

from a2a.types import AgentCapabilities, AgentCard, AgentSkill
from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools.mcp_tool.mcp_session_manager import StreamableHTTPConnectionParams
from google.adk.tools.mcp_tool.mcp_toolset import McpToolset
from google.genai import types
from kagent.adk import KAgentApp
from kagent.adk._mcp_toolset import KAgentMcpToolset
from kagent.adk.types import create_header_provider
from starlette.responses import JSONResponse
from starlette.routing import Route

ALLOWED = [name for name in os.environ.get("ALLOWED_HEADERS", "").split(",") if name]


class ScriptedModel(BaseLlm):
    """Takes a moment, so that the requests of several users are open at once."""

    async def generate_content_async(self, llm_request, stream=False):
        await asyncio.sleep(random.uniform(0, 0.05))
        last = llm_request.contents[-1].parts[-1]
        if last.function_response is not None:
            part = types.Part(text=str(last.function_response.response))
        else:
            part = types.Part(function_call=types.FunctionCall(name="whoami", args={}))
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


def make_agent(toolset=KAgentMcpToolset):
    tools = toolset(
        connection_params=StreamableHTTPConnectionParams(url=os.environ["BACKEND_URL"], timeout=60, sse_read_timeout=60),
        header_provider=create_header_provider(allowed_headers=ALLOWED),
    )
    return Agent(name="agent", model=ScriptedModel(model="scripted"), instruction="", tools=[tools])


card = AgentCard(
    name="agent",
    description="Tells which user its backend sees.",
    url=os.environ["AGENT_URL"],
    version="1.0.0",
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    capabilities=AgentCapabilities(streaming=True),
    skills=[AgentSkill(id="whoami", name="whoami", description="Tells the user.", tags=["test"])],
)


runner = InMemoryRunner(make_agent(McpToolset), app_name="shared")


async def shared(request):
    """Keeps an MCP session for all requests with equal headers."""
    user = uuid.uuid4().hex
    state = {"headers": dict(request.headers)}
    session = await runner.session_service.create_session(app_name="shared", user_id=user, state=state)
    message = types.Content(role="user", parts=[types.Part(text="Who am I?")])
    texts = []
    try:
        async for event in runner.run_async(user_id=user, session_id=session.id, new_message=message):
            texts += [part.text for part in event.content.parts if part.text]
    except Exception as error:
        return JSONResponse({"error": str(error)})
    return JSONResponse({"text": " ".join(texts)})


async def healthz(request):
    return JSONResponse({})


app = KAgentApp(make_agent, card, "http://127.0.0.1:9", "agent").build(local=True)
app.router.routes += [Route("/healthz", healthz), Route("/shared", shared, methods=["POST"])]
