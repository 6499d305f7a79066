"""The kinds of values in a spec: how each is read, what it may be, and what is said of one that is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from vidctl.runpod import limits
from vidctl.runpod.types import STAMP
from vidctl.spec.document import Interpolated, Location
from vidctl.text import duration_s

# Variables that a user may set for RunPod's SDK and platform; the other RUNPOD_* are RunPod's to set in a worker.
OPEN_RUNPOD_VARIABLES = frozenset(
    {
        "RUNPOD_DEBUG_LEVEL",
        "RUNPOD_INIT_TIMEOUT",
        "RUNPOD_LOG_LEVEL",
        # RunPod docs, serverless/development/fitness-checks
        "RUNPOD_BINARY_GPU_TEST_PATH",
        "RUNPOD_GPU_BENCHMARK_TIMEOUT",
        "RUNPOD_GPU_MAX_ERROR_MESSAGES",
        "RUNPOD_GPU_TEST_TIMEOUT",
        "RUNPOD_MIN_CUDA_VERSION",
        "RUNPOD_MIN_DISK_PERCENT",
        "RUNPOD_MIN_MEMORY_GB",
        "RUNPOD_NETWORK_CHECK_TIMEOUT",
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS",
        "RUNPOD_SKIP_GPU_CHECK",
    }
)


class SpecPart(BaseModel):
    """What all parts of a spec share: frozen, strict, and nothing unknown."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class SpecFiles:
    """Whose spec it is: its files, the base first, and the project folder that its relative paths start from."""

    files: tuple[Path, ...]
    folder: Path


def wrong(
    message: str, *, hint: str | None = None, rule: str | None = None, beside: Location | None = None
) -> PydanticCustomError:
    """Make a validator's error.

    `rule` replaces a message that quotes the value; `beside` is the place, from the part that the value is a field of,
    when it is not the value's own.
    """
    return PydanticCustomError("spec", "{message}", {"message": message, "hint": hint, "rule": rule, "beside": beside})


# --- how a scalar is read ------------------------------------------------------------------------------------------


def read_number(value: Any) -> Any:
    if isinstance(value, Interpolated) and re.fullmatch(r"-?[0-9]{1,15}", value):
        return int(value)
    return value


def _as_filled_in(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """The text, which still says whether a variable gave it."""
    checked = check(value)
    return value if isinstance(value, Interpolated) else checked


def _read_flag(value: Any) -> Any:
    if isinstance(value, Interpolated) and value in ("true", "false"):
        return value == "true"
    return value


def _read_seconds(value: Any) -> int:
    if not isinstance(value, str) or not value or not _DURATION.fullmatch(value):  # with its unit
        raise wrong("invalid duration", hint="write 5s, 2m or 1h30m")
    return int(duration_s(value) or 0)


def _read_delay(value: Any) -> int:
    number = read_number(value)
    return number if isinstance(number, int) and not isinstance(number, bool) else _read_seconds(value)


def read_gigabytes(value: Any) -> int:
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(found[1])
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+ *[kKmMgGtT]i?[bB]?", value):
        raise wrong("RunPod sizes disks and memory in whole GB", hint="write 10GB")
    raise wrong("invalid size", hint="write 10GB")


_DURATION = re.compile("(?:[0-9]{1,9}d)?(?:[0-9]{1,9}h)?(?:[0-9]{1,9}m)?(?:[0-9]{1,9}s)?")
_DURATION_PATTERN = "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_SIZE = re.compile("([0-9]{1,6}) ?GB?")
SIZE_PATTERN = "^[0-9]+ ?GB?$"


# --- the rules of values -------------------------------------------------------------------------------------------


def between(least: int, most: int, rule: str) -> AfterValidator:
    def check(value: int) -> int:
        if not least <= value <= most:
            raise wrong(rule)
        return value

    return AfterValidator(check)


def matching(pattern: str, rule: str, hint: str | None = None) -> AfterValidator:
    expression = re.compile(pattern)

    def check(text: str) -> str:
        if not expression.fullmatch(text):
            raise wrong(rule, hint=hint)
        return text

    return AfterValidator(check)


Items = Iterable[tuple[int, str]]
ItemErrors = Iterator[tuple[int, PydanticCustomError]]


def items_follow(rule: Callable[[Items], ItemErrors]) -> WrapValidator:
    """Hold a list to a rule between its items: those that are right by themselves, whatever is wrong with others."""

    def check(values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        checked, errors = None, []
        try:
            checked = handler(values)
        except ValidationError as error:
            errors = [_again(details) for details in error.errors(include_url=False)]
        wrong_ones = {index for error in errors for index in error["loc"][:1]}
        if isinstance(values, (list, tuple)):
            right_ones = [(index, value) for index, value in enumerate(values) if index not in wrong_ones]
            errors += [InitErrorDetails(type=kind, loc=(at,), input=values[at]) for at, kind in rule(right_ones)]
        if errors:
            raise ValidationError.from_exception_data("list", errors)
        return checked

    return WrapValidator(check)


def _again(error: ErrorDetails) -> InitErrorDetails:
    """A finding of pydantic's, to be raised once more."""
    context = error.get("ctx", {})
    kind = PydanticCustomError("spec", "{message}", context) if error["type"] == "spec" else error["type"]
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=context)


def are_distinct(texts: Items) -> ItemErrors:
    known = set()
    for index, text in texts:
        if text in known:
            yield index, wrong("duplicate entry", hint="keep one of the two")
        known.add(text)


def _not_reserved(name: str) -> str:
    if name == STAMP:
        raise wrong(f"{name} is reserved: vidctl sets it to mark what it made", hint="remove it")
    if name.startswith("RUNPOD_") and name not in OPEN_RUNPOD_VARIABLES:
        allowed = ", ".join(sorted(OPEN_RUNPOD_VARIABLES))
        raise wrong(
            "RUNPOD_… variables are reserved: RunPod sets them in a worker", hint=f"a spec can set only {allowed}"
        )
    return name


def _password_variable(value: Any) -> Any:
    # Lower case is refused because registries' tokens (ghp_…, dckr_pat_…) would pass for names with it.
    if isinstance(value, Interpolated) or (isinstance(value, str) and not re.fullmatch("[A-Z_][A-Z0-9_]*", value)):
        hint = "keep it in .env (REGISTRY_PASSWORD=…) and write password: REGISTRY_PASSWORD"
        raise wrong("expected the name of a variable, never the password itself", hint=hint)
    return value


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets without their other half, a port that is none
        is_web = False
    if not is_web or not re.fullmatch("[!-~]+", url):
        raise wrong("invalid server URL", hint="write it like http://127.0.0.1:11434/v1")
    if "@" in parts.netloc:
        hint = "put the server's key in OPENAI_API_KEY of local.env"
        raise wrong("a server URL must not contain a user or a password", hint=hint)
    if "?" in url or "#" in url:
        raise wrong(
            "a server URL must not contain a query or a fragment", hint="write it like http://127.0.0.1:11434/v1"
        )
    return url


# --- paths ---------------------------------------------------------------------------------------------------------


def _read_path(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise wrong("expected a file or folder")
    return info.context.folder / value if isinstance(info.context, SpecFiles) else Path(value)


def _read_relative_path(value: Any) -> Any:
    """A path that does not start from the project folder."""
    if isinstance(value, str) and not value.strip():
        raise wrong("expected a file or folder")
    return Path(value) if isinstance(value, str) else value


def _worker_folder(folder: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, SpecFiles) and not exists(folder, Path.is_dir):
        raise wrong("folder not found", hint=f"paths start from {info.context.folder}")
    return folder


def _dockerfile(path: Path, info: ValidationInfo) -> Path:
    folder = info.data.get("build")
    if "build" in info.data and folder is None:
        raise wrong("dockerfile requires build", hint="give image a build: folder")
    if isinstance(info.context, SpecFiles) and folder is not None:
        if not exists(folder / path, Path.is_file):
            raise wrong("file not found", hint=f"the path starts from {folder}")
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise wrong("file is outside the build folder", hint="move it into the build folder")
    return path


def _job_file(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, SpecFiles):
        if not exists(path, Path.is_file):
            raise wrong("file not found", hint=f"paths start from {info.context.folder}")
        if not holds_a_job(path):
            raise wrong("invalid job file", hint='write JSON like {"input": {…}}')
    return path


def exists(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except (OSError, ValueError):  # a name too long, or one that no file can have
        return False


def holds_a_job(path: Path) -> bool:
    """Whether it is a file like RunPod's test_input.json."""
    try:
        job = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(job, dict) and isinstance(job.get("input"), dict) and bool(job["input"])


# --- the kinds of values -------------------------------------------------------------------------------------------

# RunPod takes any name for a volume or a login (REST v2: minLength 1); a line's worth of text can be shown.
LABEL = r"(?=.{1,191}\Z)[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]+)?/)?"
_REPOSITORY = f"{_HOST}{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = "(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"

Whole = Annotated[int, BeforeValidator(read_number)]
Flag = Annotated[bool, BeforeValidator(_read_flag)]
Duration = Annotated[
    int, BeforeValidator(_read_seconds), WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN})
]
Name = Annotated[
    str,
    matching(r"[^\x00-\x1f\x7f]{3,191}", "name must have 3 to 191 characters, all on one line"),
    matching(r"\S(?:.*\S)?", "name must not start or end with a space"),
    matching("(?!.* -fb$).*", "name must not end in -fb", "write flashboot: true"),
]
VariableName = Annotated[
    str,
    matching(_VARIABLE, "invalid environment variable name", "use letters, digits and _"),
    AfterValidator(_not_reserved),
    Field(json_schema_extra={"pattern": f"^{_VARIABLE}$"}),
]
Environment = dict[VariableName, Annotated[str, WrapValidator(_as_filled_in)]]
BuildArgument = Annotated[
    str,
    matching(_VARIABLE, "invalid build argument name", "use letters, digits and _, as in ARG NAME"),
    Field(json_schema_extra={"pattern": f"^{_VARIABLE}$"}),
]
BuildArguments = dict[BuildArgument, str]
PasswordVariable = Annotated[
    str, BeforeValidator(_password_variable), Field(json_schema_extra={"pattern": "^[A-Z_][A-Z0-9_]*$"})
]
Repository = Annotated[
    str,
    matching(_REPOSITORY, "invalid repository", "write docker.io/you/name: lower case, and no tag"),
]
Reference = Annotated[
    str, matching(_REPOSITORY + _TAG, "invalid image reference", "write docker.io/you/name:tag, in lower case")
]
WorkerFolder = Annotated[Path, BeforeValidator(_read_path), AfterValidator(_worker_folder)]
Dockerfile = Annotated[Path, BeforeValidator(_read_relative_path), AfterValidator(_dockerfile)]
Target = Annotated[
    str,
    matching(r"[A-Za-z][A-Za-z0-9_.-]*|[0-9]+", "invalid stage name", "use the name after AS in a FROM line"),
]
Handler = Annotated[Path, BeforeValidator(_read_relative_path)]
JobFile = Annotated[Path, BeforeValidator(_read_path), AfterValidator(_job_file)]
WorkerCount = Annotated[Whole, between(0, 1000, "worker count must be between 0 and 1000")]
QueueDelay = Annotated[
    int,
    BeforeValidator(_read_delay),
    between(1, 3600, "queue delay must be between 1s and 1h"),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "pattern": _DURATION_PATTERN}),
]
RequestCount = Annotated[Whole, between(1, 1_000_000, "request count must be at least 1")]
IdleTime = Annotated[Duration, between(*limits.IDLE_TIMEOUT_S, "idle timeout must be between 1s and 1h")]
_EXECUTION_S = (limits.EXECUTION_TIMEOUT_MS[0] // 1000, limits.EXECUTION_TIMEOUT_MS[1] // 1000)
ExecutionTime = Annotated[Duration, between(*_EXECUTION_S, "execution timeout must be between 5s and 7d")]
DiskSize = Annotated[
    int,
    BeforeValidator(read_gigabytes),
    between(1, 10_000, "disk must be between 1GB and 10000GB"),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]
ServerUrl = Annotated[str, AfterValidator(_server), Field(json_schema_extra={"pattern": "^https?://[^@?#]+$"})]
DataCenter = Annotated[
    str, matching("[A-Z]{2,4}(-[A-Z]{2,4}-[0-9]+)?", "invalid data center", "write EU-RO-1, or a country: CZ")
]
CudaVersion = Annotated[str, matching(r"[0-9]+\.[0-9]+", "invalid CUDA version", 'write it like "12.8"')]
Volume = Annotated[str, matching(LABEL, "invalid network volume: expected a name or an id")]
Login = Annotated[str, matching(LABEL, "invalid registry login: expected a name or an id")]
