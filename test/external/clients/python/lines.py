"""Lines of JSON on standard input and output; see ../driver.ts."""

import json
import sys
from typing import Any

import anyio

Message = dict[str, Any]


def send(message: Message) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Driver:
    """Has a method for each command."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.tasks = tasks

    async def execute(self, command: Message) -> None:
        try:
            reply: Message = {"result": await getattr(self, command["op"])(command)}
        except Exception as error:
            reply = {"error": describe(error)}
        send({"id": command["id"], **reply})

    async def session(self, _command: Message) -> str | None:
        return None


def describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


def text_of(result: Any) -> str:
    return "".join(getattr(block, "text", "") for block in result.content)


async def main(driver_class: type[Driver]) -> None:
    async with anyio.create_task_group() as tasks:
        driver = driver_class(tasks)
        async for line in anyio.wrap_file(sys.stdin):
            tasks.start_soon(driver.execute, json.loads(line))
        tasks.cancel_scope.cancel()
