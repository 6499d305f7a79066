"""What the engine says while it builds, pushes and pulls: every line is reported, logged, and believed when it fails.

The shapes are those of docs.docker.com/reference/api/engine (`/build`, `/images/create`, `/images/{name}/push`): a
failure is a line with `error`, in an answer whose status is 200.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vidctl.errors import ImageError
from vidctl.images.log import ImageLog
from vidctl.images.provenance import is_ours
from vidctl.progress import Notify, Progress

Lines = Iterable[Mapping[str, Any]]

_STEP = re.compile(r"step (\d+)/(\d+) ?: ?(.*)", re.IGNORECASE)  # Podman writes STEP
_ENDED = ("Pushed", "Layer already exists", "Pull complete", "Already exists")


class RegistryConnectionError(ImageError):
    """The line to the registry broke: another try may do better."""

    code = "registry_connection_lost"


def follow_build(lines: Lines, *, key: str, notify: Notify, log: ImageLog) -> str:
    """Tell a build's steps; return the image's id; raise ImageError with the failed step and the last lines."""
    step, number, total, image_id = "", 0, 0, ""
    for line in lines:
        if failure := _failure(line):
            log.write("\n")  # what was said last may be waiting for its end
            error = build_failed(key, step, failure, log)
            log.write(f"{failure}\n")
            raise error
        image_id = _image_id(line) or image_id
        for text in log.write(line.get("stream") or ""):
            if found := _STEP.match(text):
                number, total, step = int(found[1]), int(found[2]), text
                message = f"{number}/{total} {found[3]}"
                notify(Progress("build", message, number - 1, total, key=key, is_passing=is_ours(found[3])))
            elif text.strip():
                message = f"{number}/{total} {text.strip()}"
                notify(Progress("build", message, number, total, key=key, is_passing=True))
        _notify_layer(line, "build", key, notify, log, {})
    if not image_id:
        raise build_failed(key, step, "the engine reported no image id", log)
    return image_id


def build_failed(key: str, step: str, failure: str, log: ImageLog) -> ImageError:
    """The error of a build: which step, what the engine says, the last lines."""
    where = f"{key}: {log.harmless(step)}" if step else f"{key}: build failed"
    hint = room_hint(failure) or f"full log: {log.path}"
    return ImageError(f"{where}: {log.harmless(failure)}{_last_lines(log)}", hint=hint)


def follow_push(lines: Lines, *, key: str, notify: Notify, log: ImageLog) -> str | None:
    """Tell a push's layers; return the digest the engine saw; raise ImageError, RegistryConnectionError when another
    try may help.
    """
    digest, totals = None, dict[str, int]()
    for line in lines:
        if failure := _failure(line):
            last = _last_lines(log)
            log.write(f"{failure}\n")
            kind = RegistryConnectionError if is_broken(failure) else ImageError
            hint = _registry_hint(failure) or f"full log: {log.path}"
            raise kind(f"{key}: push failed: {log.harmless(failure)}{last}", hint=hint)
        digest = (line.get("aux") or {}).get("Digest") or digest
        status = line.get("status") or ""
        if found := re.search(r"digest: (sha256:[0-9a-f]{64})", status):  # all that Podman says
            digest = found[1]
        _notify_layer(line, "push", key, notify, log, totals)
    return digest


def follow_pull(lines: Lines, *, key: str, notify: Notify, log: ImageLog) -> None:
    """Tell a pull's layers; raise ImageError."""
    totals: dict[str, int] = {}
    for line in lines:
        if failure := _failure(line):
            raise ImageError(f"{key}: cannot pull the base image: {failure}", hint=room_hint(failure))
        _notify_layer(line, "build", key, notify, log, totals)


def is_broken(failure: str) -> bool:
    """Whether a registry's failure is one of the line or of the moment, and not of rights or room."""
    return bool(_BROKEN.search(failure)) and not _FULL.search(failure)


_BROKEN = re.compile(
    # 500 is not among them: the engine itself has tried it five times within a minute.
    r"connection (refused|reset)|broken pipe|\bEOF\b|time(d )?out|deadline exceeded|unreachable|no route"
    r"|HTTP status:? 50[234]|toomanyrequests|upload (unknown|invalid)",
    re.IGNORECASE,
)
_FULL = re.compile(r"no space left|quota exceeded|disk.{0,20}full", re.IGNORECASE)
_REFUSED = re.compile(
    r"unauthorized|no basic auth|authentication required|denied|forbidden|insufficient.scope", re.IGNORECASE
)


def is_refused(failure: str) -> bool:
    """Whether a registry says that this login, or none, may not do this."""
    return bool(_REFUSED.search(failure))


def room_hint(failure: str) -> str | None:
    """What helps against a disk that is full."""
    return "free disk space: vidctl images prune, docker system prune" if _FULL.search(failure) else None


def _registry_hint(failure: str) -> str | None:
    if _FULL.search(failure) or "500 Internal Server Error" in failure:
        return "check the registry: its disk space and its log"
    if is_refused(failure):
        return "run docker login REGISTRY, or set registry_auth in the spec, with an account that may push there"
    return None


def _failure(line: Mapping[str, Any]) -> str:
    detail = line.get("errorDetail") or {}
    return str(line.get("error") or detail.get("message") or "").strip()


def _last_lines(log: ImageLog) -> str:
    return "".join(f"\n  {line}" for line in log.last)


def _image_id(line: Mapping[str, Any]) -> str:
    """Once per stage, the last is the image's; the line of text is Podman's only word."""
    aux = line.get("aux") or {}
    found = re.search(r"Successfully built ([0-9a-f]{12,64})", line.get("stream") or "")
    return str(aux.get("ID") or (found[1] if found else ""))


def _notify_layer(
    line: Mapping[str, Any], step: str, key: str, notify: Notify, log: ImageLog, totals: dict[str, int]
) -> None:
    status, layer = str(line.get("status") or ""), str(line.get("id") or "")
    if not status:
        return
    detail = line.get("progressDetail") or {}
    done, total = detail.get("current"), detail.get("total")
    if done is None:
        log.write(f"{layer}: {status}\n" if layer else f"{status}\n")
    if total:
        totals[layer] = total
        done = min(done or 0, total)  # the engine counts the tar's own blocks too
    is_passing = status not in _ENDED and not status.startswith("Mounted from")
    if layer:
        size = totals.get(layer, 0)
        amount = f" ({_amount(size)})" if size and not is_passing else ""
        message = f"{layer} {status[0].lower()}{status[1:]}{amount}"
        notify(Progress(step, message, done, total, key=f"{key} {layer}", is_passing=is_passing))


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
