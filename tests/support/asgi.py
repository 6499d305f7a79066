"""Ask an ASGI application without a socket, so that a test decides what happens when."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Request:
    """One request under way: `await` it for (status, answer); `hang_up` is the client closing its connection."""

    def __init__(self, app: Any, method: str, path: str, *, key: str, body: Any = None, agent: str = "") -> None:
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", key.encode()), (b"user-agent", agent.encode())],
        }
        self._body = b"" if body is None else json.dumps(body).encode()
        self._is_read = False
        self._gone = asyncio.Event()
        self._status = 0
        self._answer = b""
        self._task = asyncio.ensure_future(app(self._scope, self._receive, self._send))

    def __await__(self) -> Any:
        yield from self._task.__await__()
        return self._status, json.loads(self._answer) if self._answer else None

    @property
    def is_answered(self) -> bool:
        return self._task.done()

    def hang_up(self) -> None:
        self._gone.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self._body}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self._status = message.get("status", self._status)
        self._answer += message.get("body", b"")


async def turn() -> None:
    """Let everything that can go on do so until it waits."""
    for _ in range(50):
        await asyncio.sleep(0)
