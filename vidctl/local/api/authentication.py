"""Who may ask: those with the runtime's key."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from vidctl.local import wire
from vidctl.local.api.http import json_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_BEARER = re.compile(rb"bearer +", re.IGNORECASE)


class Authenticated:
    """Answers 401 to everyone without the key, before anything is read.

    The key comes as `Bearer <key>` or bare, as RunPod's SDK sends it from a worker, and for GraphQL as `?api_key=`.
    """

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/" and not self._is_allowed(scope):
            error = wire.answer({"error": "unauthorized: the API key is missing or wrong"})
            await json_response(error, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not given and scope["path"] == "/graphql":
            given = parse_qs(scope["query_string"]).get(b"api_key", [b""])[0]
        return hmac.compare_digest(_BEARER.sub(b"", given).strip(), self._api_key)
