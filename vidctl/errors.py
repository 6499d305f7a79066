"""Every failure that a user can cause or fix: one tree, each with a code, an exit status and a hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from vidctl.text import one_line


class VidctlError(Exception):
    """What went wrong in one sentence, and what to do about it.

    `code` is from a closed, lower-case list and `exit_status` is the process exit status; both are documented in
    the README and stable.  `job_id` and `endpoint` name what may still be running, and be paid for.  `has_lines` of a
    message that is more than one line on purpose; of all others a line's end came with somebody's name or text.
    """

    code: ClassVar[str] = "failure"
    exit_status: ClassVar[int] = 1
    has_lines: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        endpoint: str | None = None,
        job_id: str | None = None,
        status: int | str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.endpoint = endpoint
        self.job_id = job_id
        self.status = status

    def to_json(self) -> dict[str, Any]:
        """The flat object that `--json` prints on stderr; keys without a value are left out."""
        known = {
            "error": self.message,
            "code": self.code,
            "hint": self.hint,
            "endpoint": self.endpoint,
            "job_id": self.job_id,
            "status": self.status,
        }
        return {key: value for key, value in known.items() if value is not None}


class UsageError(VidctlError):
    """The command line asks for something that cannot be."""

    code = "usage_error"
    exit_status = 2


class SpecError(VidctlError):
    """A spec in configs/ is wrong; the message holds every mistake with file:line:column."""

    code = "spec_error"
    exit_status = 2
    has_lines = True


class MediaError(VidctlError):
    """An image or an audio file cannot be found, read or sent."""

    code = "media_error"


class ApiError(VidctlError):
    """RunPod answered with an error, or with something that is not an answer."""

    code = "api_error"
    retry_after_s: float | None = None
    """How long RunPod asks to wait, where it was too many requests (429) and it says that."""


class RefusedError(ApiError):
    """RunPod does not take a value; `field` is its name in `vidctl.runpod.types` (`workers_max`), None if unknown."""

    code = "value_refused"

    def __init__(self, message: str, *, field: str | None, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint, status=status)
        self.field = field


class SchemaMismatchError(ApiError):
    """The model's answer is not of the form that was asked for: `text` is the answer, `problem` what is wrong with it.

    `text` is as untrusted as all that a model writes.
    """

    code = "schema_mismatch"

    def __init__(self, message: str, *, text: str, problem: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.problem = problem

    def to_json(self) -> dict[str, Any]:
        """With the answer as it is: it was paid."""
        return {**super().to_json(), "response": self.text}


class RetiredError(ApiError):
    """RunPod has switched this generation of its API off (HTTP 410)."""

    code = "api_retired"


class NetworkError(VidctlError):
    """RunPod could not be reached, or the connection broke."""

    code = "network_error"


class UnansweredError(NetworkError):
    """The request was sent and no answer came: it may have been accepted."""

    code = "unanswered"


class AuthError(VidctlError):
    """The key is missing, wrong, or may not do this."""

    code = "auth_error"
    exit_status = 4


class NotDeployedError(VidctlError):
    """The endpoint does not exist (yet, or any more)."""

    code = "not_deployed"
    exit_status = 5


class JobFailedError(VidctlError):
    """The job ended FAILED, TIMED_OUT or CANCELLED on the worker's side; `status` says which."""

    code = "job_failed"
    exit_status = 3
    worker_id: str | None = None
    """Whose fault it was, if RunPod says so."""
    delay_ms: int | None = None
    execution_ms: int | None = None
    is_worker_lost: bool = False
    """Whether its worker died under it."""


class TimedOutError(VidctlError):
    """Waiting took longer than asked."""

    code = "timed_out"
    exit_status = 6


class RolledBackError(VidctlError):
    """The new version did not pass its smoke test, and the last good one was put back."""

    code = "rolled_back"
    exit_status = 7
    has_lines = True


class ImageError(VidctlError):
    """An image cannot be built, pushed or found, or the Docker engine cannot be used."""

    code = "image_error"


class NotOwnedError(UsageError):
    """Something of that name is there that vidctl did not make."""

    code = "not_owned"


class BusyError(VidctlError):
    """Another vidctl is at work on the same endpoint."""

    code = "busy"


class SeveralError(VidctlError):
    """Several things stand in the way; each is one of `problems`, and the first one's exit status is that of all."""

    code = "several"
    has_lines = True

    def __init__(self, problems: Sequence[VidctlError]) -> None:
        said = ((each.message if each.has_lines else one_line(each.message), each.hint) for each in problems)
        told = (f"{message} ({one_line(hint)})" if hint else message for message, hint in said)
        super().__init__("\n".join([f"{len(problems)} things stand in the way", *(f"- {line}" for line in told)]))
        self.problems = tuple(problems)
        self.exit_status = problems[0].exit_status  # type: ignore[misc]  # of the class elsewhere, of what it holds here

    @staticmethod
    def of(problems: Sequence[VidctlError]) -> VidctlError:
        """The only one, or all together; the same problem of several specs is told once."""
        distinct = list({each.message: each for each in problems}.values())
        return distinct[0] if len(distinct) == 1 else SeveralError(distinct)


class NoSettingError(VidctlError):
    """None of the settings that were tried does what was asked for."""

    code = "no_setting"


class CostLimitError(VidctlError):
    """More would have cost more than was allowed; what was paid for was delivered."""

    code = "cost_limit"
    exit_status = 9


class PartialFailureError(VidctlError):
    """Some of many things failed; the others' results were delivered."""

    code = "partial"
    exit_status = 9


class InterruptionError(VidctlError):
    """Ctrl-C."""

    code = "interrupted"
    exit_status = 130


class LocalRuntimeError(VidctlError):
    """The local runtime cannot start, or a worker's environment cannot be made."""

    code = "local_runtime_error"
    has_lines = True
