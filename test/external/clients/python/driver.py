"""Clients on the Python SDK, driven by lines of JSON on standard input; see ../driver.ts."""

import contextlib
import warnings
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.auth import OAuthClientMetadata
from pydantic import AnyUrl

import lines
from lines import Message, main, send, text_of
from sign_in import BrowserlessUser

# The SDK's own default: streams can be idle for long.
TIMEOUT = httpx2.Timeout(30, read=300)


class Memory:
    """Keeps the tokens and the registration of one client."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


class SignIn(OAuthClientProvider):
    """The SDK's OAuth flow."""

    def __init__(self, url: str) -> None:
        user = BrowserlessUser()
        metadata = OAuthClientMetadata(
            client_name="agent",
            redirect_uris=[AnyUrl("http://127.0.0.1/callback")],
            token_endpoint_auth_method="none",
        )
        super().__init__(url, metadata, Memory(), user.redirect, user.callback)


class Agent:
    """One client, and the events that close it."""

    def __init__(self) -> None:
        self.client: Client
        self.session: str | None = None
        self.visited = anyio.Event()
        self.stop = anyio.Event()
        self.stopped = anyio.Event()


class Driver(lines.Driver):
    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__(tasks)
        self.agents: dict[int, Agent] = {}
        self.calls: dict[int, anyio.CancelScope] = {}

    async def connect(self, command: Message) -> None:
        agent = Agent()
        # A client must be opened and closed in one task.
        await self.tasks.start(self.run_agent, agent, command)
        self.agents[command["client"]] = agent

    async def run_agent(self, agent: Agent, command: Message, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async def sampling(_context: Any, _params: Any) -> types.CreateMessageResult:
            content = types.TextContent(type="text", text=command["reply"])
            return types.CreateMessageResult(role="assistant", model="none", content=content)

        async def elicitation(_context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
            if isinstance(params, types.ElicitRequestURLParams):
                agent.visited = anyio.Event()
                send({"client": command["client"], "opened": params.url})
                await agent.visited.wait()
                return types.ElicitResult(action="accept")
            properties = params.requested_schema.get("properties", {})
            return types.ElicitResult(action="accept", content={name: command["reply"] for name in properties})

        async def on_message(message: Any) -> None:
            if isinstance(message, types.ResourceUpdatedNotification):
                send({"client": command["client"], "updated": str(message.params.uri)})

        async def record_session(response: Any) -> None:
            agent.session = response.headers.get("mcp-session-id", agent.session)

        token = command["token"]
        async with httpx2.AsyncClient(
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            auth=SignIn(command["url"]) if token is None else None,
            timeout=TIMEOUT,
            event_hooks={"response": [record_session]},
        ) as http:
            async with Client(
                streamable_http_client(command["url"], http_client=http),
                mode=command["mode"],
                sampling_callback=sampling,
                elicitation_callback=elicitation,
                message_handler=on_message,
            ) as client:
                agent.client = client
                task_status.started()
                await agent.stop.wait()
        agent.stopped.set()

    async def session(self, command: Message) -> str | None:
        return self.agents[command["client"]].session

    async def visited(self, command: Message) -> None:
        self.agents[command["client"]].visited.set()

    async def list(self, command: Message) -> list[str]:
        tools = await self.agents[command["client"]].client.list_tools(cache_mode="bypass")
        return [tool.name for tool in tools.tools]

    async def call(self, command: Message) -> str:
        async def progress(value: float, _total: float | None, _message: str | None) -> None:
            send({"id": command["id"], "progress": value})

        client = self.agents[command["client"]].client
        with anyio.CancelScope() as scope:
            self.calls[command["id"]] = scope
            result = await client.call_tool(command["name"], command["args"], progress_callback=progress)
            return text_of(result)
        raise RuntimeError("cancelled")

    async def cancel(self, command: Message) -> None:
        self.calls[command["call"]].cancel()

    async def watch(self, command: Message) -> None:
        agent = self.agents[command["client"]]
        if command["mode"] == "legacy":
            await agent.client.subscribe_resource(command["uri"])
        else:
            await self.tasks.start(self.listen, agent, command)

    async def listen(self, agent: Agent, command: Message, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with agent.client.listen(resource_subscriptions=[command["uri"]]) as subscription:
            task_status.started()
            # Closing the client ends the subscription with this error.
            with contextlib.suppress(SubscriptionLost):
                # The message handler also receives each event.
                async for _event in subscription:
                    pass

    async def close(self, command: Message) -> None:
        agent = self.agents.pop(command["client"])
        agent.stop.set()
        await agent.stopped.wait()


# The tests also use revisions that the SDK considers deprecated.
warnings.simplefilter("ignore")
anyio.run(main, Driver)
