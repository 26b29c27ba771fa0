"""Clients on FastMCP, driven by lines of JSON on standard input; see ../driver.ts."""

import warnings
from typing import Any

import anyio
from fastmcp import Client
from fastmcp.client.auth import BearerAuth, OAuth
from fastmcp.client.elicitation import ElicitResult

import lines
from lines import Message, main, send, text_of
from sign_in import BrowserlessUser


class SignIn(OAuth):
    """FastMCP's OAuth flow, without its browser and its callback server."""

    def __init__(self) -> None:
        self.user = BrowserlessUser()
        super().__init__()

    async def redirect_handler(self, authorization_url: str) -> None:
        await self.user.redirect(authorization_url)

    async def callback_handler(self) -> Any:
        return await self.user.callback()


class Visit:
    """The user's visit to a URL."""

    def __init__(self) -> None:
        self.done = anyio.Event()

    async def open(self, client: int, url: str) -> ElicitResult:
        self.done = anyio.Event()
        send({"client": client, "opened": url})
        await self.done.wait()
        return ElicitResult(action="accept")


class Driver(lines.Driver):
    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__(tasks)
        self.clients: dict[int, Client[Any]] = {}
        self.visits: dict[int, Visit] = {}

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

    async def list(self, command: Message) -> list[str]:
        return [tool.name for tool in await self.clients[command["client"]].list_tools()]

    async def call(self, command: Message) -> str:
        result = await self.clients[command["client"]].call_tool(command["name"], command["args"])
        return text_of(result)

    async def close(self, command: Message) -> None:
        await self.clients.pop(command["client"]).close()


warnings.simplefilter("ignore")
anyio.run(main, Driver)
