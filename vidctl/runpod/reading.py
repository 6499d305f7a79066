"""Read RunPod's responses with suspicion: a value of the wrong kind is an ApiError, never a traceback.

The types here are JSON's; null says what a missing key says.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from vidctl.errors import ApiError
from vidctl.text import one_line

Node: TypeAlias = dict[str, Any]


def node_of(response: Any, source: str) -> Node:
    """The response, which is an object."""
    if not isinstance(response, dict):
        raise ApiError(f"invalid response from {source}: expected an object")
    return response


def read(node: Node, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """A plain value, `default` when it is not there."""
    value = node.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ApiError(f"invalid response from RunPod: unexpected {key} = {one_line(repr(value), 60)}")
    return value


def part(node: Node, key: str) -> Node:
    """An object, {} when it is not there."""
    value = node.get(key) or {}
    if not isinstance(value, dict):
        raise ApiError(f"invalid response from RunPod: expected an object, not {key} = {one_line(repr(value), 60)}")
    return value


def strings(node: Node, key: str) -> list[str]:
    """A list of strings, [] when it is not there."""
    values = node.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ApiError(f"invalid response from RunPod: missing list {key!r}")
    return values


def nodes(node: Node, key: str) -> list[Node]:
    """A list of objects, [] when it is not there."""
    values = node.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ApiError(f"invalid response from RunPod: missing list {key!r}")
    return values


def endpoint_name(node: Node) -> str:
    """An endpoint's name without the ` -fb` that RunPod shows behind some (runpod/runpodctl#270)."""
    return re.sub(r" -fb$", "", read(node, "name", str, ""))
