"""The input of a job of any endpoint: read from text, and refused where RunPod would refuse it, or hang on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from vidctl.errors import UsageError
from vidctl.runpod import limits
from vidctl.runpod.jobs import JobOptions


def parsed(text: str, *, where: str) -> dict[str, Any]:
    """The input that JSON text holds: an object, or a job as in test_input.json, which has it as its `input`."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{where}: invalid JSON at {place}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: invalid JSON: {_reason(error)}") from error
    is_job = isinstance(value, dict) and isinstance(value.get("input"), dict) and value.keys() <= {"input", "id"}
    return checked(value["input"] if is_job else value, where=where)


def checked(value: object, *, where: str) -> dict[str, Any]:
    """The input itself; UsageError for one that is no object, is empty, or is not JSON."""
    if not isinstance(value, Mapping):
        raise UsageError(f'{where}: expected an object, such as {{"prompt": "…"}}')
    if not value:
        # RunPod drops the key on its way to the worker, and the job hangs until it ends FAILED (runpod.md, 4.1).
        raise UsageError(f"{where}: it is empty, and RunPod would not give such a job to a worker")
    return dict(value)


def check_size(payload: Mapping[str, Any], options: JobOptions, *, where: str) -> None:
    """Raise UsageError for a job that is not JSON, or larger than /run takes."""
    try:
        size = len(json.dumps({"input": payload, **options.fields()}, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON ({error})") from error
    if size > limits.RUN_BYTES:
        raise UsageError(
            f"{where}: {size:,} bytes, and RunPod takes {limits.RUN_BYTES:,} at most",
            hint="upload what is large, and send its URL",
        )


def of_pairs(pairs: Iterable[tuple[str, str]], *, where: str) -> dict[str, Any]:
    """An input of names and values: a value is JSON where it is that, and text elsewhere."""
    found: dict[str, Any] = {}
    for name, text in pairs:
        if name in found:
            raise UsageError(f"{where}: {name} is given twice")
        found[name] = text
        with suppress(ValueError, RecursionError):
            found[name] = json.loads(text, parse_constant=_refuse_constant)
    return found


def digest(payload: Mapping[str, Any]) -> str:
    """What names an input's content, whatever the order of its keys."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else f"{error} is no JSON number"
