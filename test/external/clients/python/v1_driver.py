"""Clients on the Python SDK 1.x, driven by lines of JSON on standard input; see ../driver.ts."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

import lines
from lines import Message, main, text_of


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


class Driver(lines.Driver):
    """Each call has a session of its own, as in langchain-mcp-adapters."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        super().__init__(tasks)
        self.clients: dict[int, Message] = {}

    async def connect(self, command: Message) -> None:
        async with connected(command):
            self.clients[command["client"]] = command

    async def call(self, command: Message) -> str:
        async with connected(self.clients[command["client"]]) as session:
            result = await session.call_tool(command["name"], command["args"])
        return text_of(result)

    async def close(self, command: Message) -> None:
        del self.clients[command["client"]]


anyio.run(main, Driver)
