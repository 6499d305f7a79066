"""One thing that was looked at, and looking at many side by side, none for longer than its deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Literal

from vidctl.errors import VidctlError
from vidctl.text import one_line

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Finding:
    """What was seen, and the command that fixes it."""

    state: Literal["ok", "warn", "fail", "skipped"]
    seen: str
    fix: str | None = None


@dataclass(frozen=True)
class HealthCheck:
    """One check; `look` changes nothing, and may raise VidctlError for what it found."""

    name: str
    look: Callable[[], Finding]


def examine(checks: Sequence[HealthCheck], *, deadline_s: float = DEADLINE_S) -> list[tuple[str, Finding]]:
    """What each check finds, in their order; one that has not ended by the deadline has failed, and is left behind."""
    deadline = time.monotonic() + deadline_s
    pending = [(check.name, _begun(check)) for check in checks]
    return [(name, _ended(future, deadline, deadline_s)) for name, future in pending]


def _begun(check: HealthCheck) -> Future[Finding]:
    future: Future[Finding] = Future()

    def run() -> None:
        try:
            future.set_result(check.look())
        except BaseException as error:  # noqa: BLE001  raised again by who waits
            future.set_exception(error)

    # Not an executor's: Python would wait at its end for one that hangs.
    threading.Thread(target=run, name=f"doctor {check.name}", daemon=True).start()
    return future


def _ended(future: Future[Finding], deadline: float, deadline_s: float) -> Finding:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:
        return Finding("fail", f"no answer within {deadline_s:g} s", "check the network and the proxy, then try again")
    except VidctlError as error:
        return Finding("fail", one_line(error.message), error.hint)
    except OSError as error:
        return Finding("fail", one_line(f"{error.filename or 'the system'}: {error.strerror or error}"))
