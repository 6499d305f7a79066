"""REST v2's requests and answers: bodies that follow a schema, lists in pages, and errors as problems."""

from __future__ import annotations

import json
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vidctl.local import wire
from vidctl.local.control_plane import rest_schema, rest_wire
from vidctl.local.control_plane.records import EndpointRecord, NetworkVolumeRecord, RegistryAuthRecord, TemplateRecord
from vidctl.local.control_plane.rest_wire import Json, ProblemError
from vidctl.local.control_plane.store import RecordError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from vidctl.local.control_plane.rest_schema import Schema

_T = TypeVar("_T")
_R = TypeVar("_R", EndpointRecord, TemplateRecord, RegistryAuthRecord, NetworkVolumeRecord)

_BODY_BYTES: Final = 10 << 20
_POSITION_DIGITS: Final = 9
_MAX_INT: Final = 2**31 - 1


class Pages:
    """Lists in pages of at most `size`."""

    def __init__(self, size: int) -> None:
        self._size = size

    def of(self, request: Request, things: Sequence[_R]) -> tuple[Sequence[_R], Json]:
        """The page that a request asks for, and what stands beside it.  A cursor is its own page's end, and what is
        there: where that is gone meanwhile, a page begins early, so that nothing is left out.
        """
        start = 0
        if cursor := request.query_params.get("cursor"):
            position, _, last = cursor.partition("-")
            if not position.isdecimal() or not position.isascii() or len(position) > _POSITION_DIGITS:
                raise ProblemError(400, "invalid cursor")
            after = (index for index, thing in enumerate(things, 1) if thing.id == last)
            start = next(after, max(0, int(position) - self._size))
        end = start + self._size
        page, more = things[start:end], end < len(things)
        following = f"{end}-{page[-1].id}" if more else None
        return page, {"pagination": {"hasNextPage": more, "nextCursor": following}}


def found(record: _T | None, what: str) -> _T:
    if record is None:
        raise ProblemError(404, f"{what} not found")
    return record


async def read_body(request: Request, schema: Schema) -> Json:
    """The request's body, as the schema wants it; raise ProblemError otherwise."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _BODY_BYTES:
            raise ProblemError(413, "request body is too large")
    try:
        body = json.loads(data, parse_constant=_refuse, parse_float=_number, parse_int=_integer)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair can be read and not be kept
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "request body is not valid JSON") from error
    if errors := list(rest_schema.violations(schema, body)):
        raise ProblemError(422, "Request validation failed.", errors)
    return dict(body)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    """RunPod's numbers have 32 bits."""
    number = int(text)
    if abs(number) > _MAX_INT:
        raise ValueError(f"{text} is out of range")
    return number


def _number(text: str) -> float:
    """In JSON 3.0 is an integer."""
    number = float(text)
    if not isfinite(number) or abs(number) > _MAX_INT:
        raise ValueError(f"{text} is out of range")
    return int(number) if number.is_integer() else number


def json_response(body: Json, status: int = 200) -> Response:
    return Response(wire.dumps(body), status, media_type="application/json")


def problem_response(problem: ProblemError, headers: dict[str, str] | None = None) -> Response:
    body = rest_wire.problem_json(problem, HTTPStatus(problem.status).phrase)
    return Response(wire.dumps(body), problem.status, headers, media_type="application/problem+json")


async def _error_response(_: Request, error: Exception) -> Response:
    match error:
        case ProblemError():
            return problem_response(error)
        case HTTPException(status_code=405):
            return problem_response(
                ProblemError(405, "The requested method is not allowed for this path."), dict(error.headers or {})
            )
        case HTTPException():
            return problem_response(ProblemError(error.status_code, "resource not found"))
        case ClientDisconnect():
            return Response(status_code=499)
        case _:
            return problem_response(ProblemError(400, str(error)))


EXCEPTION_HANDLERS: dict[Any, Any] = dict.fromkeys(
    (ProblemError, HTTPException, RecordError, ClientDisconnect), _error_response
)
