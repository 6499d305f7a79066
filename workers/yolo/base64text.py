# Copied from workers/_shared/base64text.py by `make sync-workers`: edit it there.
"""Take bytes out of the base64 that callers send."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import unquote

from badinput import BadInputError

_URL_SAFE = str.maketrans("-_", "+/")
_SPACE = re.compile(r"\s+")
_SHORTEST_UNPADDED = 64  # no image or audio is shorter, and "/etc/passwd" is unpadded base64 too


def from_text(value: Any, name: str) -> bytes:
    """The bytes of base64, bare or in a data: URL; raise BadInputError whose message begins with `name`.

    Taken as clients write it: in one line or in many, with or without padding, in the URL-safe alphabet (RFC 4648, 5),
    and %-encoded, as a data: URL may be (RFC 2397).
    """
    if not isinstance(value, str):
        raise BadInputError(f"{name} must be a base64 string, a data: URL or an https:// URL")
    text = value
    if value[:5].lower() == "data:":
        head, comma, text = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise BadInputError(f"{name}: the data: URL is not base64")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = _loosely(text, name)
    if not data:
        raise BadInputError(f"{name} is empty")
    return data


def _loosely(text: str, name: str) -> bytes:
    text = _SPACE.sub("", unquote(text) if "%" in text else text).translate(_URL_SAFE)
    if len(text) >= _SHORTEST_UNPADDED:
        text = text.rstrip("=")
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadInputError(f"{name} is not valid base64") from error
