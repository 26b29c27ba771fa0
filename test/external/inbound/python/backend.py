"""Calls the MCP backend of an agent. Knows nothing of tokens, handles or baggage."""

import json
import os

import httpx

BACKEND = os.environ["BACKEND_URL"]
REVISION = "2026-07-28"

HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": REVISION,
    "mcp-method": "tools/call",
    "mcp-name": "whoami",
}

MESSAGE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "whoami",
        "arguments": {},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "agent", "version": "1"},
        },
    },
}


def read(response: httpx.Response) -> dict:
    """Returns the status, and the user whose token the backend received."""
    if response.status_code != 200:
        return {"status": response.status_code, "user": None}
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        text = next(line[6:] for line in text.splitlines() if line.startswith("data: "))
    content = json.loads(text)["result"]["content"]
    return {"status": 200, "user": json.loads(content[0]["text"])["sub"]}


async def whoami(client: httpx.AsyncClient) -> dict:
    return read(await client.post(BACKEND, headers=HEADERS, json=MESSAGE))


def whoami_in_thread() -> dict:
    with httpx.Client() as client:
        return read(client.post(BACKEND, headers=HEADERS, json=MESSAGE))
