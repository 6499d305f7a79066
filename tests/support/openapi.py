"""Hold requests and answers of REST v2 against RunPod's own OpenAPI document, where that is at hand.

`check(method, path, body, status, answer)` is all that a test needs; `is_at_hand()` says whether it checks anything.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = Path(__file__).parents[3] / "shared" / "reference" / "runpod-rest-v2.openapi.json"
MISSING = f"RunPod's OpenAPI document is not at hand: {DOCUMENT.name} is not shipped with vidctl"
_URI = "urn:runpod-rest-v2"


def is_at_hand() -> bool:
    return DOCUMENT.is_file()


def check(method: str, path: str, body: Any, status: int, answer: Any) -> None:
    """Fail when the document has no such request, or a body or an answer that it does not allow.

    `path` begins with /v2 and may have a query.  The body of a request that was refused (4xx) is not looked at.  No
    body is None; so is the answer to a DELETE.  Says nothing where the document is not at hand.
    """
    if not is_at_hand():
        return
    template = path_template(path)
    operation = f"{method} {path}"
    pointer = ("paths", template, method.lower())
    assert method.lower() in _document()["paths"][template], f"{operation}: no such method"
    if status < 400:
        _check_body(operation, (*pointer, "requestBody"), body)
    _check_answer(operation, (*pointer, "responses"), status, answer)


def allows_body(method: str, path: str, body: Any) -> bool:
    """Whether the document takes this body for this request."""
    pointer = ("paths", path_template(path), method.lower(), "requestBody", "content", "application/json", "schema")
    return _validator(pointer).is_valid(body)


@cache
def path_template(path: str) -> str:
    """The document's path that a request's path is of; literal ones first.  Fail when there is none."""
    wanted = path.partition("?")[0]
    for template in sorted(_document()["paths"], key=lambda template: template.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), wanted):
            return template
    raise AssertionError(f"{path}: RunPod's REST v2 has no such path")


def _check_body(operation: str, pointer: tuple[str, ...], body: Any) -> None:
    if _at(pointer) is None:
        assert body is None, f"{operation} takes no body"
        return
    _check(operation, (*pointer, "content", "application/json", "schema"), body)


def _check_answer(operation: str, pointer: tuple[str, ...], status: int, answer: Any) -> None:
    responses = _at(pointer)
    pointer = (*pointer, str(status) if str(status) in responses else "default")
    assert pointer[-1] != "default" or status >= 400, f"{operation}: answers {status}, which the document does not have"
    reference = _at(pointer).get("$ref")
    pointer = tuple(reference.removeprefix("#/").split("/")) if reference else pointer
    content = _at(pointer).get("content")
    if content is None:
        assert answer in (None, "", b""), f"{operation}: {status} has no body"
        return
    (media_type,) = content
    _check(f"{operation}: {status}", (*pointer, "content", media_type, "schema"), answer)


def _check(what: str, pointer: tuple[str, ...], value: Any) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in _validator(pointer).iter_errors(value)]
    assert not errors, f"{what}: {errors} in {json.dumps(value)[:2000]}"


@cache
def _validator(pointer: tuple[str, ...]) -> Draft202012Validator:
    fragment = "/".join(
        part.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D") for part in pointer
    )
    resource = Resource.from_contents(_document(), default_specification=DRAFT202012)
    return Draft202012Validator({"$ref": f"{_URI}#/{fragment}"}, registry=Registry().with_resource(_URI, resource))


def _at(pointer: tuple[str, ...]) -> Any:
    value: Any = _document()
    for part in pointer:
        value = None if value is None else value.get(part)
    return value


@cache
def _document() -> Any:
    return json.loads(DOCUMENT.read_text(encoding="utf-8"))
