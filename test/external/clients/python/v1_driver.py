"""Clients on the Python SDK 1.x, driven by lines of JSON on standard input; see ../driver.ts."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

Message = dict[str, Any]


def send(message: Message) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def connected(command: Message) -> AsyncIterator[ClientSession]:
    headers = {"authorization": f"Bearer {command['token']}"}
    async with (
        httpx.AsyncClient(headers=headers) as http,
        streamable_http_client(command["url"], http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


class Driver:
    """Each call has a session of its own, as in langchain-mcp-adapters."""

    def __init__(self) -> None:
        self.clients: dict[int, Message] = {}

    async def execute(self, command: Message) -> None:
        try:
            result = await getattr(self, command["op"])(command)
            send({"id": command["id"], "result": result})
        except Exception as error:
            send({"id": command["id"], "error": describe(error)})

    async def connect(self, command: Message) -> None:
        async with connected(command):
            self.clients[command["client"]] = command

    async def session(self, _command: Message) -> None:
        return None

    async def call(self, command: Message) -> str:
        async with connected(self.clients[command["client"]]) as session:
            result = await session.call_tool(command["name"], command["args"])
        return "".join(getattr(block, "text", "") for block in result.content)

    async def close(self, command: Message) -> None:
        del self.clients[command["client"]]


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


anyio.run(main)
