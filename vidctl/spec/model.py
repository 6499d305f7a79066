"""What a spec may say: the fields, their units and their rules.

A field's name is Python's, its alias YAML's.  Validation takes the context `Context(files, folder)`; without one, paths
stay as they are and no file is looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError

from vidctl.docker import worker_folder
from vidctl.kinds import KINDS, OFFICIAL
from vidctl.runpod import gpus, limits
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

# Build arguments and variables of a worker that gets the place of its model's weights, as workers/qwen-vl does.
BASE_URL = "OPENAI_BASE_URL"
MODEL, REVISION, WEIGHTS = "MODEL_NAME", "MODEL_REVISION", "WEIGHTS"
DEFAULT_REVISION = "main"  # of a repository at Hugging Face

Isolation = Literal["process", "container"]
if TYPE_CHECKING:
    Task = str
    Protocol = str
else:
    Task = Literal[tuple(KINDS)]
    Protocol = Literal[tuple(OFFICIAL.values())]
Weights = Literal["cache", "volume", "bake"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Context:
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


def _read_number(value: Any) -> Any:
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
    number = _read_number(value)
    return number if isinstance(number, int) and not isinstance(number, bool) else _read_seconds(value)


def _read_gigabytes(value: Any) -> int:
    if isinstance(value, str) and (found := _DISK.fullmatch(value)):
        return int(found[1])
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+ *[kKmMgGtT]i?[bB]?", value):
        raise wrong("RunPod sizes disks and memory in whole GB", hint="write 10GB")
    raise wrong("invalid size", hint="write 10GB")


_DURATION = re.compile("(?:[0-9]{1,9}d)?(?:[0-9]{1,9}h)?(?:[0-9]{1,9}m)?(?:[0-9]{1,9}s)?")
_DURATION_PATTERN = "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_DISK = re.compile("([0-9]{1,6}) ?GB?")
_DISK_PATTERN = "^[0-9]+ ?GB?$"


# --- the rules of values -------------------------------------------------------------------------------------------


def _between(least: int, most: int, rule: str) -> AfterValidator:
    def check(value: int) -> int:
        if not least <= value <= most:
            raise wrong(rule)
        return value

    return AfterValidator(check)


def _matching(pattern: str, rule: str, hint: str | None = None) -> AfterValidator:
    expression = re.compile(pattern)

    def check(text: str) -> str:
        if not expression.fullmatch(text):
            raise wrong(rule, hint=hint)
        return text

    return AfterValidator(check)


_Items = Iterable[tuple[int, str]]
_Findings = Iterator[tuple[int, PydanticCustomError]]


def _whose_items(rule: Callable[[_Items], _Findings]) -> WrapValidator:
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


def _are_distinct(texts: _Items) -> _Findings:
    known = set()
    for index, text in texts:
        if text in known:
            yield index, wrong("duplicate entry", hint="keep one of the two")
        known.add(text)


def _are_a_choice(names: _Items) -> _Findings:
    known: list[gpus.GpuChoice] = []
    for index, name in names:
        choice = gpus.resolve(name)
        pools = {one.pool for one in known}
        if choice in known:
            yield index, wrong("duplicate GPU", hint="keep one of the two")
        elif choice.pool not in pools and len(pools) == limits.MOST_POOLS:
            yield index, wrong(f"RunPod takes at most {limits.MOST_POOLS} pools", hint="keep the best")
        else:
            known.append(choice)


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise wrong("empty list", hint="name at least one")
    return values


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise wrong("invalid environment variable name", hint="use letters, digits and _")
    if name == STAMP:
        raise wrong(f"{name} is reserved: vidctl sets it to mark what it made", hint="remove it")
    if name.startswith("RUNPOD_") and name not in OPEN_RUNPOD_VARIABLES:
        allowed = ", ".join(sorted(OPEN_RUNPOD_VARIABLES))
        raise wrong(
            "RUNPOD_… variables are reserved: RunPod sets them in a worker", hint=f"a spec can set only {allowed}"
        )
    return name


def _build_argument(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise wrong("invalid build argument name", hint="use letters, digits and _, as in ARG NAME")
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


def _gpu_name(name: str) -> str:
    try:
        gpus.resolve(name)
    except gpus.UnknownGpuError as error:
        raise wrong(error.message, hint=error.hint, rule="unknown GPU") from error
    return name


# --- paths ---------------------------------------------------------------------------------------------------------


def _read_path(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        raise wrong("expected a file or folder")
    return info.context.folder / value if isinstance(info.context, Context) else Path(value)


def _read_relative_path(value: Any) -> Any:
    """A path that does not start from the project folder."""
    if isinstance(value, str) and not value.strip():
        raise wrong("expected a file or folder")
    return Path(value) if isinstance(value, str) else value


def _worker_folder(folder: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Context) and not _exists(folder, Path.is_dir):
        raise wrong("folder not found", hint=f"paths start from {info.context.folder}")
    return folder


def _is_worker(folder: Path, dockerfile: Path) -> bool:
    is_built = _exists(folder / worker_folder.dockerfile(folder, dockerfile), Path.is_file)
    return is_built or worker_folder.handler(folder, dockerfile) is not None


def _dockerfile(path: Path, info: ValidationInfo) -> Path:
    folder = info.data.get("build")
    if "build" in info.data and folder is None:
        raise wrong("dockerfile requires build", hint="give image a build: folder")
    if isinstance(info.context, Context) and folder is not None:
        if not _exists(folder / path, Path.is_file):
            raise wrong("file not found", hint=f"the path starts from {folder}")
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise wrong("file is outside the build folder", hint="move it into the build folder")
    return path


def _job_file(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Context):
        if not _exists(path, Path.is_file):
            raise wrong("file not found", hint=f"paths start from {info.context.folder}")
        if not _holds_a_job(path):
            raise wrong("invalid job file", hint='write JSON like {"input": {…}}')
    return path


def _exists(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except (OSError, ValueError):  # a name too long, or one that no file can have
        return False


def _holds_a_job(path: Path) -> bool:
    try:
        job = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(job, dict) and isinstance(job.get("input"), dict) and bool(job["input"])


# --- the memory of GPUs --------------------------------------------------------------------------------------------


def _have_memory(memory_gb: int, info: ValidationInfo) -> int:
    """Hold each GPU named to the memory asked for: a worker may get the smallest card that RunPod may give for it."""
    if memory_gb > (most := max(pool.memory_gb for pool in gpus.POOLS)):
        raise wrong(f"no RunPod Serverless GPU has that much memory: the largest has {most} GB")
    if "names" in info.data and "exact" in info.data:
        findings = [
            InitErrorDetails(type=wrong(**finding, beside=("names", index)), input=memory_gb)
            for index, name in enumerate(info.data["names"])
            if (finding := _too_small(name, memory_gb, exact=info.data["exact"]))
        ]
        if findings:
            raise ValidationError.from_exception_data("memory", findings)
    return memory_gb


def _too_small(name: str, memory_gb: int, *, exact: bool) -> dict[str, str] | None:
    choice = gpus.resolve(name)
    named, given = (min(cards, key=_memory) for cards in (choice.gpu_types, choice.pool.gpu_types))
    if memory_gb <= _memory(named if exact else given):
        return None
    rule = "this GPU has less memory than gpu.memory requires"
    if memory_gb <= _memory(named):
        message = f"for {name} RunPod may give an {given.id} with {_memory(given)} GB, and gpu.memory requires"
        return {
            "message": f"{message} {memory_gb} GB",
            "hint": "write `exact: true` to get only the GPUs named",
            "rule": rule,
        }
    fitting = next(pool for pool in sorted(gpus.POOLS, key=_memory) if _memory(pool) >= memory_gb)
    message = f"{name} has {_memory(named)} GB, and gpu.memory requires {memory_gb} GB"
    return {"message": message, "hint": f"{fitting.id} has {fitting.memory_gb} GB", "rule": rule}


def _memory(card: gpus.GpuType | gpus.Pool) -> int:
    return card.memory_gb


# --- the kinds of values -------------------------------------------------------------------------------------------

# RunPod takes any name for a volume or a login (REST v2: minLength 1); a line's worth of text can be shown.
_LABEL = r"(?=.{1,191}\Z)[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"
# As huggingface_hub checks a repository's name; a revision is a git ref, which has no colon.
_HUB_NAME = r"(?=.{3,96}\Z)[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*"
_HUB_REVISION = r"(?:[A-Za-z0-9][A-Za-z0-9._/-]{0,199})?"
_COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]+)?/)?"
_REPOSITORY = f"{_HOST}{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = "(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"

Whole = Annotated[int, BeforeValidator(_read_number)]
Flag = Annotated[bool, BeforeValidator(_read_flag)]
Duration = Annotated[
    int, BeforeValidator(_read_seconds), WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN})
]
Name = Annotated[
    str,
    _matching(r"[^\x00-\x1f\x7f]{3,191}", "name must have 3 to 191 characters, all on one line"),
    _matching(r"\S(?:.*\S)?", "name must not start or end with a space"),
    _matching("(?!.* -fb$).*", "name must not end in -fb", "write flashboot: true"),
]
VariableName = Annotated[
    str, AfterValidator(_variable_name), Field(json_schema_extra={"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
]
Environment = dict[VariableName, Annotated[str, WrapValidator(_as_filled_in)]]
BuildArgument = Annotated[
    str, AfterValidator(_build_argument), Field(json_schema_extra={"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
]
BuildArguments = dict[BuildArgument, str]
PasswordVariable = Annotated[
    str, BeforeValidator(_password_variable), Field(json_schema_extra={"pattern": "^[A-Z_][A-Z0-9_]*$"})
]
Repository = Annotated[
    str,
    _matching(_REPOSITORY, "invalid repository", "write docker.io/you/name: lower case, and no tag"),
]
Reference = Annotated[
    str, _matching(_REPOSITORY + _TAG, "invalid image reference", "write docker.io/you/name:tag, in lower case")
]
WorkerFolder = Annotated[Path, BeforeValidator(_read_path), AfterValidator(_worker_folder)]
Dockerfile = Annotated[Path, BeforeValidator(_read_relative_path), AfterValidator(_dockerfile)]
Target = Annotated[
    str,
    _matching(r"[A-Za-z][A-Za-z0-9_.-]*|[0-9]+", "invalid stage name", "use the name after AS in a FROM line"),
]
Handler = Annotated[Path, BeforeValidator(_read_relative_path)]
JobFile = Annotated[Path, BeforeValidator(_read_path), AfterValidator(_job_file)]
GpuName = Annotated[str, AfterValidator(_gpu_name)]
GpuMemory = Annotated[
    int,
    BeforeValidator(_read_gigabytes),
    AfterValidator(_have_memory),
    WithJsonSchema({"type": "string", "pattern": _DISK_PATTERN}),
]
GpuCount = Annotated[Whole, _between(1, 99, "GPU count must be between 1 and 99")]
WorkerCount = Annotated[Whole, _between(0, 1000, "worker count must be between 0 and 1000")]
QueueDelay = Annotated[
    int,
    BeforeValidator(_read_delay),
    _between(1, 3600, "queue delay must be between 1s and 1h"),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 1, "pattern": _DURATION_PATTERN}),
]
RequestCount = Annotated[Whole, _between(1, 1_000_000, "request count must be at least 1")]
IdleTime = Annotated[Duration, _between(*limits.IDLE_TIMEOUT_S, "idle timeout must be between 1s and 1h")]
_EXECUTION_S = (limits.EXECUTION_TIMEOUT_MS[0] // 1000, limits.EXECUTION_TIMEOUT_MS[1] // 1000)
ExecutionTime = Annotated[Duration, _between(*_EXECUTION_S, "execution timeout must be between 5s and 7d")]
DiskSize = Annotated[
    int,
    BeforeValidator(_read_gigabytes),
    _between(1, 10_000, "disk must be between 1GB and 10000GB"),
    WithJsonSchema({"type": "string", "pattern": _DISK_PATTERN}),
]
ServerUrl = Annotated[str, AfterValidator(_server), Field(json_schema_extra={"pattern": "^https?://[^@?#]+$"})]
DataCenter = Annotated[
    str, _matching("[A-Z]{2,4}(-[A-Z]{2,4}-[0-9]+)?", "invalid data center", "write EU-RO-1, or a country: CZ")
]
CudaVersion = Annotated[str, _matching(r"[0-9]+\.[0-9]+", "invalid CUDA version", 'write it like "12.8"')]
Volume = Annotated[str, _matching(_LABEL, "invalid network volume: expected a name or an id")]
Login = Annotated[str, _matching(_LABEL, "invalid registry login: expected a name or an id")]


# --- the parts of a spec -------------------------------------------------------------------------------------------


class Part(BaseModel):
    """What all parts of a spec share: frozen, strict, and nothing unknown."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Image(Part):
    """The worker's image: built from a folder, or prebuilt.  A plain string is a prebuilt reference."""

    build: WorkerFolder | None = None
    """The worker's folder: its Dockerfile and its handler, however laid out.  Relative to the project folder."""
    dockerfile: Dockerfile = Path("Dockerfile")
    """What the image is built by.  Relative to the worker's folder, and in it.  The default: Dockerfile."""
    target: Target | None = None
    """The stage of the Dockerfile that is built, by its name.  The default: the last one."""
    build_args: BuildArguments = Field(default_factory=dict)
    """Build arguments, for ARG in the Dockerfile.  The image shows them to whoever has it: they hold no secrets."""
    repository: Repository | None = None
    """Where the built image is pushed, without a tag."""
    reference: Reference | None = Field(default=None, validate_default=True)
    """A prebuilt image, as `docker pull` takes it."""
    protocol: Protocol | None = None
    """What a prebuilt image's worker speaks, if not vidctl's own: the protocol of one of RunPod's workers."""

    @model_validator(mode="before")
    @classmethod
    def _from_reference(cls, value: Any) -> Any:
        return {"reference": value} if isinstance(value, str) else value

    @field_validator("target", "build_args")
    @classmethod
    def _is_of_a_built_one(cls, value: _T, info: ValidationInfo) -> _T:
        if value and "build" in info.data and info.data["build"] is None:
            raise wrong(f"{info.field_name} requires build", hint="give image a build: folder")
        return value

    @field_validator("reference")
    @classmethod
    def _is_of_one_kind(cls, reference: str | None, info: ValidationInfo) -> str | None:
        if "build" in info.data and (info.data["build"] is None) == (reference is None):
            raise wrong("an image is either built or prebuilt", hint="give one of build: and reference:", beside=())
        if reference is not None and info.data.get("repository") is not None:
            hint = "give one of reference: and repository:"
            raise wrong("repository requires build", hint=hint, beside=("repository",))
        folder, dockerfile = info.data.get("build"), info.data.get("dockerfile")
        if isinstance(info.context, Context) and folder and dockerfile and not _is_worker(folder, dockerfile):
            hint = "a worker is a folder with a Dockerfile, and with a handler that starts RunPod's worker loop"
            raise wrong("folder has no Dockerfile and no handler.py", hint=hint, beside=("build",))
        return reference

    @field_validator("protocol")
    @classmethod
    def _is_of_a_prebuilt_one(cls, protocol: str | None, info: ValidationInfo) -> str | None:
        if protocol is not None and info.data.get("build") is not None:
            raise wrong("protocol requires reference", hint="remove it: a built worker uses vidctl's own protocol")
        return protocol

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class Gpu(Part):
    """The GPUs, best first.  One name, or a list of names, stands for `names:` alone."""

    names: Annotated[
        tuple[GpuName, ...],
        Field(strict=False, json_schema_extra={"minItems": 1}),
        AfterValidator(_not_empty),
        _whose_items(_are_a_choice),
    ]
    """What people call them (RTX 4090, L4), RunPod's pool ids (ADA_24) or its GPU type ids; of at most 3 pools."""
    count: GpuCount = 1
    """GPUs per worker.  The default: 1."""
    exact: Flag = False
    """Only the cards named, not the others of their pools.  The default: false."""
    memory_gb: GpuMemory | None = Field(default=None, alias="memory")
    """The memory that the model needs of each GPU, `16GB`: a GPU with less is a mistake.  The default: not checked."""

    @model_validator(mode="before")
    @classmethod
    def _from_names(cls, value: Any) -> Any:
        if not isinstance(value, (str, list, dict)):
            raise wrong("expected the name of a GPU, or a list of names", hint="write it like RTX 4090")
        mapping = value if isinstance(value, dict) else {"names": value}
        names = mapping.get("names")
        return {**mapping, "names": [names]} if isinstance(names, str) else mapping

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        mapping = handler(schema)
        names = mapping["properties"]["names"]
        forms = [{"type": "string"}, {key: names.pop(key) for key in ("type", "items", "minItems")}]
        names["anyOf"] = forms
        return {"anyOf": [*forms, mapping]}

    @property
    def ids(self) -> str:
        """RunPod's `gpuIds`."""
        return gpus.gpu_ids(self.names, exact=self.exact)


class Workers(Part):
    """How many workers there may be."""

    min: WorkerCount = 0
    """Workers that are always there, and always paid for.  The default: 0."""
    max: WorkerCount = Field(default=3, validate_default=True)
    """Workers at most; 0 stops the endpoint.  The default: 3."""

    @field_validator("max")
    @classmethod
    def _is_not_under_min(cls, most: int, info: ValidationInfo) -> int:
        if info.data.get("min", 0) > most:
            raise wrong("min is more than max", beside=("min",))
        return most


class Scaling(Part):
    """When one more worker starts: by how long jobs wait, or by how many there are."""

    queue_delay_s: QueueDelay | None = Field(default=None, alias="queue_delay")
    """When a job has waited this long: `4s`, or a number of seconds.  The default rule: 4s."""
    request_count: RequestCount | None = Field(default=None, validate_default=True)
    """One worker for each so many jobs, waiting and running together."""

    @field_validator("request_count")
    @classmethod
    def _is_one_rule(cls, count: int | None, info: ValidationInfo) -> int | None:
        if "queue_delay_s" in info.data and (info.data["queue_delay_s"] is None) == (count is None):
            raise wrong("scaling follows one rule", hint="give one of queue_delay: and request_count:", beside=())
        return count


class Timeouts(Part):
    """How long a worker idles, and a job runs: `5s`, `2m`, `1h30m`."""

    idle_s: IdleTime = Field(default=5, alias="idle")
    """A worker without a job stops after this long, and is paid for until then.  1s to 1h; the default: 5s."""
    execution_s: ExecutionTime = Field(default=600, alias="execution")
    """A job that runs longer is stopped.  5s to 7d; the default: 10m."""


class RegistryAuth(Part):
    """The login to a private registry.  A plain string is the name or the id of one that RunPod keeps already.

    With a username and a password vidctl pushes with it, and keeps it at RunPod under its name.
    """

    name: Login
    """Its name at RunPod, or the id of one that is there."""
    username: Annotated[str, _matching(_LABEL, "invalid username")] | None = None
    """Who pushes and pulls."""
    password_variable: PasswordVariable | None = Field(default=None, alias="password", validate_default=True)
    """The name of the variable, in the environment or in .env, that holds the password; never the password itself."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if not isinstance(value, (str, dict)):
            hint = "write NAME, or {name: …, username: …, password: NAME_OF_A_VARIABLE}"
            raise wrong("expected the name of a registry login, or a mapping", hint=hint)
        return {"name": value} if isinstance(value, str) else value

    @field_validator("password_variable")
    @classmethod
    def _goes_with_a_username(cls, variable: str | None, info: ValidationInfo) -> str | None:
        if "username" in info.data and (info.data["username"] is None) != (variable is None):
            raise wrong("username and password must be given together", hint="give both, or the name alone", beside=())
        return variable

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class Smoke(Part):
    """The job that shows that a deployment works."""

    input: JobFile
    """A JSON file `{"input": {…}}`.  Relative to the project folder."""
    contains: JsonValue = None
    """What the answer must contain."""


class Local(Part):
    """What is different on the local runtime.

    `env` and `build_args` are laid over the endpoint's own; each of `workers`, `scaling` and `timeouts` replaces it.
    """

    isolation: Isolation | None = None
    """How workers run: `process`, in a virtual environment (the default), or `container`, of the built image."""
    handler: Handler | None = None
    """What a process runs, relative to the worker's folder.  The default: what the Dockerfile starts, or handler.py."""
    env: Environment = Field(default_factory=dict)
    """Variables besides the endpoint's, or in place of them."""
    build_args: BuildArguments = Field(default_factory=dict)
    """Build arguments besides the image's, or in place of them."""
    openai: ServerUrl | None = None
    """An OpenAI-compatible server that runs already, `http://127.0.0.1:11434/v1`: the worker's OPENAI_BASE_URL."""
    workers: Workers | None = None
    """How many workers there may be."""
    scaling: Scaling | None = None
    """When one more worker starts."""
    timeouts: Timeouts | None = None
    """How long a worker idles, and a job runs."""

    @field_validator("env")
    @classmethod
    def _has_weights_of_the_project(cls, env: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """Weights that lie in the project are found from there; a worker has a working folder of its own."""
        if info.context is None:
            return env
        # `base` is the name of a model, whatever else the project has of that name.
        named = [name for name in ("MODEL", MODEL) if re.search(r"/|\.pt$", env.get(name, ""))]
        paths = {name: info.context.folder / Path(env[name]).expanduser() for name in named}
        return env | {name: str(path.absolute()) for name, path in paths.items() if path.exists()}

    @field_validator("openai")
    @classmethod
    def _is_said_once(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and BASE_URL in info.data.get("env", {}):
            raise wrong(f"local.openai sets {BASE_URL}", hint="keep one of the two", beside=("env", BASE_URL))
        return url


class EndpointSpec(Part):
    """One endpoint: the worker, where it runs and how it scales."""

    name: Name
    """The endpoint's name at RunPod."""
    task: Task | None = None
    """What vidctl asks of it.  Without one it is a plain endpoint: any worker, raw jobs."""
    image: Image
    """The worker's image: `{build: folder, repository: name}`, or a prebuilt reference."""
    gpu: Gpu
    """The GPUs, best first: a name, a list of names, or `{names: […], count: 1, exact: true}`."""
    workers: Workers = Workers()
    """How many workers there may be."""
    scaling: Scaling = Scaling(queue_delay=4)
    """When one more worker starts."""
    timeouts: Timeouts = Timeouts()
    """How long a worker idles, and a job runs."""
    disk_gb: DiskSize = Field(default=10, alias="disk")
    """The container's disk: `10GB`, which is the default."""
    env: Environment = Field(default_factory=dict)
    """The worker's environment.  Values are text."""
    secrets: Annotated[tuple[VariableName, ...], Field(strict=False), _whose_items(_are_distinct)] = ()
    """Variables whose values come from the environment or from .env when deploying, never from the spec."""
    flashboot: Flag = True
    """Let RunPod keep stopped workers warm: faster starts at no price.  The default: true."""
    data_centers: Annotated[tuple[DataCenter, ...], Field(strict=False), _whose_items(_are_distinct)] = ()
    """Where workers may run: data centers (EU-RO-1) or countries (CZ).  The default: anywhere."""
    network_volume: Volume | None = None
    """The name or the id of a network volume, mounted at /runpod-volume; it pins the workers to its data center."""
    weights: Weights | None = None
    """Where its model is: RunPod's `cache`, the network `volume`, the image (`bake`).  The default: it downloads it."""
    cuda: Annotated[tuple[CudaVersion, ...], Field(strict=False), _whose_items(_are_distinct)] = ()
    """The CUDA versions that a machine may have, quoted: the one needed and all newer.  The default: any."""
    min_cuda: CudaVersion | None = None
    """The oldest CUDA version that a machine may have, quoted, instead of the list in `cuda`.  The default: any."""
    registry_auth: RegistryAuth | None = None
    """The login to a private registry: its name or id at RunPod, or `{name: …, username: …, password: A_VARIABLE}`."""
    smoke: Smoke | None = None
    """The job that shows that a deployment works."""
    local: Local | None = None
    """What is different on the local runtime."""
    schema_version: Annotated[Literal[1], BeforeValidator(_read_number)] = 1
    """The version of this format."""

    _files: tuple[Path, ...] = PrivateAttr(default=(Path("spec.yaml"),))
    _laid_over: Local | None = PrivateAttr(default=None)

    @field_validator("weights")
    @classmethod
    def _can_be_there(cls, weights: Weights | None, info: ValidationInfo) -> Weights | None:
        image = info.data.get("image")
        if weights == "volume" and "network_volume" in info.data and info.data["network_volume"] is None:
            raise wrong("weights: volume requires network_volume", hint="name the volume, or write weights: cache")
        if weights == "bake" and image and image.build is None:
            raise wrong(
                "weights: bake requires image.build", hint="write weights: cache; a prebuilt image cannot be changed"
            )
        if weights in ("cache", "bake") and "env" in info.data:
            _require_repository(weights, info.data["env"])
        return weights

    @field_validator("min_cuda")
    @classmethod
    def _is_no_list_beside(cls, version: str | None, info: ValidationInfo) -> str | None:
        if version and info.data.get("cuda"):
            raise wrong("cuda and min_cuda cannot be combined", hint="keep min_cuda: it takes all newer versions")
        return version

    @field_validator("local")
    @classmethod
    def _names_one_server(cls, local: Local | None, info: ValidationInfo) -> Local | None:
        if local and local.openai is not None:
            rule = f"local.openai sets {BASE_URL}"
            if BASE_URL in info.data.get("env", {}):
                raise wrong(rule, hint="keep one of the two", beside=("env", BASE_URL))
            if BASE_URL in info.data.get("secrets", ()):
                raise wrong(rule, hint="keep one of the two", beside=("local", "openai"))
        return local

    @field_validator("local")
    @classmethod
    def _builds_what_is_built(cls, local: Local | None, info: ValidationInfo) -> Local | None:
        image = info.data.get("image")
        if local and local.build_args and image and image.build is None:
            hint = "give image a build: folder"
            raise wrong("build_args requires build", hint=hint, beside=("local", "build_args"))
        return local

    @field_validator("local")
    @classmethod
    def _has_its_handler(cls, local: Local | None, info: ValidationInfo) -> Local | None:
        image = info.data.get("image")
        if local and local.handler and image:
            if image.build is None:
                hint = "give image a build: folder"
                raise wrong("handler requires build", hint=hint, beside=("local", "handler"))
            path = image.build / local.handler
            if isinstance(info.context, Context) and not _exists(path, Path.is_file):
                hint = f"the path starts from {image.build}"
                raise wrong("file not found", hint=hint, beside=("local", "handler"))
            if not path.resolve().is_relative_to(image.build.resolve()):
                hint = "move it into the worker's folder"
                raise wrong("file is outside the worker's folder", hint=hint, beside=("local", "handler"))
        return local

    def model_post_init(self, context: Any, /) -> None:
        """Remember the files."""
        if isinstance(context, Context):
            self._files = context.files

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it was read from: the base first, then the overlays over it."""
        return self._files

    @property
    def path(self) -> Path:
        """The file it was read from; with an overlay, the overlay's."""
        return self._files[-1]

    @property
    def key(self) -> str:
        """What the command line calls it: `yolo` for configs/yolo.yaml, `yolo.prod` with configs/yolo.prod.yaml."""
        return self.path.stem

    @property
    def is_local(self) -> bool:
        """Whether this is what `with_local` gave, with a `local` in it."""
        return self._laid_over is not None

    @property
    def isolation(self) -> Isolation | None:
        """How the local runtime is to run its workers; None if the spec does not say."""
        local = self.local or self._laid_over
        return local.isolation if local else None

    @property
    def handler(self) -> Path | None:
        """What the local runtime runs of the worker's folder; None when nothing there has a name that tells."""
        local = self.local or self._laid_over
        if local and local.handler:
            return local.handler
        return worker_folder.handler(self.image.build, self.image.dockerfile) if self.image.build else None

    @property
    def model_references(self) -> tuple[str, ...]:
        """What RunPod's model cache is to hold, as its API spells it."""
        if self.weights != "cache":
            return ()
        return (f"https://huggingface.co/{self.env[MODEL]}:{self.env.get(REVISION) or DEFAULT_REVISION}",)

    @property
    def filled_in(self) -> frozenset[str]:
        """The variables whose values come from the environment or from `.env`, by `${NAME}`: they may be secrets."""
        return frozenset(name for name, value in self.env.items() if isinstance(value, Interpolated))

    @property
    def worker_env(self) -> dict[str, str]:
        """The variables of its containers but for the secrets: a built worker gets the place of its weights."""
        weights = {WEIGHTS: self.weights} if self.weights and self.image.build else {}
        return {**weights, **self.env}

    @property
    def build_args(self) -> dict[str, str]:
        """What its image is built with: what `weights` asks of the Dockerfile, and what the spec says."""
        return {**self._weights_args(), **self.image.build_args}

    def _weights_args(self) -> dict[str, str]:
        """Never with a secret, HF_TOKEN for one: move it out of build_args: anyone with the image can read them."""
        if self.weights == "bake":
            return {**{name: self.env[name] for name in (MODEL, REVISION) if name in self.env}, "BAKE": "1"}
        # RunPod mounts a network volume as root's, and the worker must write to it.
        return {"RUN_AS": "0"} if self.weights == "volume" and self.image.build else {}

    def with_local(self) -> EndpointSpec:
        """Give the spec as the local runtime gets it: its worker downloads its weights, or reads a folder."""
        here = self.model_copy(update={"weights": None}) if self.weights else self
        if self.local is None:
            return here
        parts = {name: part for name in ("workers", "scaling", "timeouts") if (part := getattr(self.local, name))}
        image = self.image.model_copy(update={"build_args": {**self.image.build_args, **self.local.build_args}})
        server = {BASE_URL: self.local.openai} if self.local.openai else {}
        env = {**self.env, **self.local.env, **server}
        laid = here.model_copy(update={**parts, "image": image, "env": env, "local": None})
        laid._laid_over = self.local  # noqa: SLF001  its own class's
        return laid


def _require_repository(weights: Weights, env: Environment) -> None:
    """Raise for a MODEL_NAME that Hugging Face does not have, or a MODEL_REVISION that cannot be one."""
    if MODEL not in env:
        raise wrong(f"weights: {weights} needs {MODEL} in env:", hint=f"{MODEL}: Qwen/Qwen3-VL-8B-Instruct, for one")
    if not re.fullmatch(_HUB_NAME, env[MODEL]):
        rule = f"weights: {weights} needs the name of a model at huggingface.co here"
        raise wrong(rule, hint="write it like Qwen/Qwen3-VL-8B-Instruct", beside=("env", MODEL))
    if not re.fullmatch(_HUB_REVISION, env.get(REVISION, "")):
        raise wrong(
            "invalid revision: expected a branch, a tag or a commit", hint="write main", beside=("env", REVISION)
        )
