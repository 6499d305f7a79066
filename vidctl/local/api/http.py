"""Request bodies and queries within RunPod's limits, answers as JSON, and errors as answers."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vidctl.local import wire
from vidctl.local.api.rate_limits import TooManyRequestsError
from vidctl.local.queue.transitions import WrongStateError
from vidctl.local.wire import BadRequestError

if TYPE_CHECKING:
    from starlette.requests import Request

_BEGINNING_BYTES = 100


class NotFoundError(BadRequestError):
    """No such endpoint, job or worker; answered with HTTP 404."""


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body; raise BadRequestError when it is over the limit, once it is read, so that a client can read that."""
    return within(*await read(request, max_bytes), max_bytes)


async def read(request: Request, max_bytes: int) -> tuple[bytes, int]:
    """The body, or no more than its beginning when it is over the limit, and its size."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            chunks = [chunks[0][:_BEGINNING_BYTES]]
    return b"".join(chunks), size


def within(body: bytes, size: int, max_bytes: int) -> bytes:
    """The body; raise BadRequestError when its size is over the limit."""
    if size > max_bytes:
        raise BadRequestError(
            f"json is invalid; max size is {max_bytes >> 20}MiB (this one has {size / (1 << 20):.1f} MiB)"
        )
    return body


def json_object(body: bytes, *, max_bytes: int, what: str) -> dict[str, Any]:
    """The object that a body holds; raise BadRequestError when it holds none."""
    value = wire.loads(body, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise BadRequestError(f"{what} must be a JSON object")
    return value


def integer(request: Request, name: str, default: int, limits: tuple[int, int]) -> int:
    """A number from the query, brought within its limits."""
    text = request.query_params.get(name)
    if text is None:
        return default
    with suppress(ValueError):
        return min(limits[1], max(limits[0], int(text)))
    raise BadRequestError(f"invalid {name} {text!r}: expected a number")


def json_response(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


async def _error_response(request: Request, error: Exception) -> Response:
    match error:
        case NotFoundError():
            status = 404
        case HTTPException(status_code=status):
            phrase = HTTPStatus(status).phrase.lower()
            answer = json_response(wire.answer({"error": f"{request.method} {request.url.path}: {phrase}"}), status)
            answer.headers.update(error.headers or {})
            return answer
        case TooManyRequestsError(retry_after_s=seconds):
            answer = json_response(wire.answer({"error": str(error)}), 429)
            answer.headers["Retry-After"] = str(seconds)
            return answer
        case ClientDisconnect():
            return Response(status_code=499)
        case _:
            status = 400
    return json_response(wire.answer({"error": str(error)}), status)


EXCEPTION_HANDLERS: dict[Any, Any] = dict.fromkeys(
    (BadRequestError, WrongStateError, ClientDisconnect, HTTPException, TooManyRequestsError), _error_response
)
