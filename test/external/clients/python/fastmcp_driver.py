"""Clients on FastMCP, driven by lines of JSON on standard input; see ../driver.ts."""

import json
import sys
import warnings
from typing import Any

import anyio
from fastmcp import Client
from fastmcp.client.auth import BearerAuth, OAuth
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


class Driver:
    def __init__(self) -> None:
        self.clients: dict[int, Client[Any]] = {}

    async def execute(self, command: Message) -> None:
        try:
            reply: Message = {"result": await getattr(self, command["op"])(command)}
        except Exception as error:
            reply = {"error": describe(error)}
        sys.stdout.write(json.dumps({"id": command["id"], **reply}) + "\n")
        sys.stdout.flush()

    async def connect(self, command: Message) -> None:
        token = command["token"]
        auth = SignIn() if token is None else BearerAuth(token)
        client = Client(command["url"], auth=auth)
        await client.__aenter__()
        self.clients[command["client"]] = client

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
