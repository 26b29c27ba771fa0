"""Clients on FastMCP, driven by lines of JSON on standard input; see ../driver.ts."""

import json
import sys
import warnings
from typing import Any

import anyio
from fastmcp import Client
from fastmcp.client.auth import BearerAuth, OAuth
from fastmcp.client.elicitation import ElicitResult
from sign_in import BrowserlessUser

Message = dict[str, Any]


class SignIn(OAuth):
    """FastMCP's OAuth flow, without its browser and its callback server."""

    def __init__(self) -> None:
        self.user = BrowserlessUser()
        super().__init__()

    async def redirect_handler(self, authorization_url: str) -> None:
        await self.user.redirect(authorization_url)

    async def callback_handler(self) -> Any:
        return await self.user.callback()


def send(message: Message) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Visit:
    """The user's visit to a URL."""

    def __init__(self) -> None:
        self.done = anyio.Event()

    async def open(self, client: int, url: str) -> ElicitResult:
        self.done = anyio.Event()
        send({"client": client, "opened": url})
        await self.done.wait()
        return ElicitResult(action="accept")


class Driver:
    def __init__(self) -> None:
        self.clients: dict[int, Client[Any]] = {}
        self.visits: dict[int, Visit] = {}

    async def execute(self, command: Message) -> None:
        try:
            reply: Message = {"result": await getattr(self, command["op"])(command)}
        except Exception as error:
            reply = {"error": describe(error)}
        send({"id": command["id"], **reply})

    async def connect(self, command: Message) -> None:
        token = command["token"]
        auth = SignIn() if token is None else BearerAuth(token)
        visited = self.visits.setdefault(command["client"], Visit())

        async def elicitation(_message: str, _type: Any, params: Any, _context: Any) -> Any:
            return await visited.open(command["client"], params.url)

        handler = elicitation if command.get("visits") else None
        client = Client(command["url"], auth=auth, elicitation_handler=handler)
        await client.__aenter__()
        self.clients[command["client"]] = client

    async def visited(self, command: Message) -> None:
        self.visits[command["client"]].done.set()

    async def session(self, _command: Message) -> None:
        return None

    async def list(self, command: Message) -> list[str]:
        return [tool.name for tool in await self.clients[command["client"]].list_tools()]

    async def call(self, command: Message) -> str:
        result = await self.clients[command["client"]].call_tool(command["name"], command["args"])
        return "".join(getattr(block, "text", "") for block in result.content)

    async def close(self, command: Message) -> None:
        await self.clients.pop(command["client"]).close()


def describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


async def main() -> None:
    driver = Driver()
    async with anyio.create_task_group() as tasks:
        async for line in anyio.wrap_file(sys.stdin):
            tasks.start_soon(driver.execute, json.loads(line))
        tasks.cancel_scope.cancel()


warnings.simplefilter("ignore")
anyio.run(main)
