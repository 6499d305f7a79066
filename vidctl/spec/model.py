"""What a spec may say: the fields, their units and their rules.

A field's name is Python's, its alias YAML's.  Validation takes the context `SpecFiles(files, folder)`; without one,
paths stay as they are and no file is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from vidctl.docker import worker_folder
from vidctl.kinds import KINDS, OFFICIAL
from vidctl.spec.document import Interpolated
from vidctl.spec.fields import (
    LABEL,
    BuildArguments,
    CudaVersion,
    DataCenter,
    DiskSize,
    Dockerfile,
    Environment,
    ExecutionTime,
    Flag,
    Handler,
    IdleTime,
    Login,
    Name,
    PasswordVariable,
    QueueDelay,
    Reference,
    Repository,
    RequestCount,
    ServerUrl,
    SpecFiles,
    SpecPart,
    Target,
    VariableName,
    Volume,
    WorkerCount,
    WorkerFolder,
    are_distinct,
    exists,
    items_follow,
    matching,
    read_number,
    wrong,
)
from vidctl.spec.gpu import Gpu
from vidctl.spec.smoke import Smoke, own_smoke
from vidctl.spec.weights import (
    BASE_URL,
    WEIGHTS,
    Weights,
    image_args,
    references,
    require_repository,
    with_full_paths,
)

Isolation = Literal["process", "container"]
if TYPE_CHECKING:
    Task = str
    Protocol = str
else:
    Task = Literal[tuple(KINDS)]
    Protocol = Literal[tuple(OFFICIAL.values())]

_T = TypeVar("_T")


def _is_worker(folder: Path, dockerfile: Path) -> bool:
    is_built = exists(folder / worker_folder.dockerfile(folder, dockerfile), Path.is_file)
    return is_built or worker_folder.handler(folder, dockerfile) is not None


class Image(SpecPart):
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
        if isinstance(info.context, SpecFiles) and folder and dockerfile and not _is_worker(folder, dockerfile):
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


class Workers(SpecPart):
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


class Scaling(SpecPart):
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


class Timeouts(SpecPart):
    """How long a worker idles, and a job runs: `5s`, `2m`, `1h30m`."""

    idle_s: IdleTime = Field(default=5, alias="idle")
    """A worker without a job stops after this long, and is paid for until then.  1s to 1h; the default: 5s."""
    execution_s: ExecutionTime = Field(default=600, alias="execution")
    """A job that runs longer is stopped.  5s to 7d; the default: 10m."""


class RegistryAuth(SpecPart):
    """The login to a private registry.  A plain string is the name or the id of one that RunPod keeps already.

    With a username and a password vidctl pushes with it, and keeps it at RunPod under its name.
    """

    name: Login
    """Its name at RunPod, or the id of one that is there."""
    username: Annotated[str, matching(LABEL, "invalid username")] | None = None
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


class Local(SpecPart):
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
        return env if info.context is None else with_full_paths(env, info.context.folder)

    @field_validator("openai")
    @classmethod
    def _is_said_once(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and BASE_URL in info.data.get("env", {}):
            raise wrong(f"local.openai sets {BASE_URL}", hint="keep one of the two", beside=("env", BASE_URL))
        return url


class EndpointSpec(SpecPart):
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
    secrets: Annotated[tuple[VariableName, ...], Field(strict=False), items_follow(are_distinct)] = ()
    """Variables whose values come from the environment or from .env when deploying, never from the spec."""
    flashboot: Flag = True
    """Let RunPod keep stopped workers warm: faster starts at no price.  The default: true."""
    data_centers: Annotated[tuple[DataCenter, ...], Field(strict=False), items_follow(are_distinct)] = ()
    """Where workers may run: data centers (EU-RO-1) or countries (CZ).  The default: anywhere."""
    network_volume: Volume | None = None
    """The name or the id of a network volume, mounted at /runpod-volume; it pins the workers to its data center."""
    weights: Weights | None = None
    """Where its model is: RunPod's `cache`, the network `volume`, the image (`bake`).  The default: it downloads it."""
    cuda: Annotated[tuple[CudaVersion, ...], Field(strict=False), items_follow(are_distinct)] = ()
    """The CUDA versions that a machine may have, quoted: the one needed and all newer.  The default: any."""
    min_cuda: CudaVersion | None = None
    """The oldest CUDA version that a machine may have, quoted, instead of the list in `cuda`.  The default: any."""
    registry_auth: RegistryAuth | None = None
    """The login to a private registry: its name or id at RunPod, or `{name: …, username: …, password: A_VARIABLE}`."""
    smoke: Smoke | None = Field(default=None, validate_default=True)
    """The job that shows that a deployment works.  The default: the `test_input.json` of the worker's folder."""
    local: Local | None = None
    """What is different on the local runtime."""
    schema_version: Annotated[Literal[1], BeforeValidator(read_number)] = 1
    """The version of this format."""

    _files: tuple[Path, ...] = PrivateAttr(default=(Path("spec.yaml"),))
    _laid_over: Local | None = PrivateAttr(default=None)

    @field_validator("smoke")
    @classmethod
    def _is_the_workers_own(cls, smoke: Smoke | None, info: ValidationInfo) -> Smoke | None:
        """By RunPod's own name for a job to try a worker with (runpod-python, serverless/modules/rp_local.py)."""
        image = info.data.get("image")
        return smoke or (own_smoke(image.build) if image and image.build and info.context else None)

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
            require_repository(weights, info.data["env"])
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
            if isinstance(info.context, SpecFiles) and not exists(path, Path.is_file):
                hint = f"the path starts from {image.build}"
                raise wrong("file not found", hint=hint, beside=("local", "handler"))
            if not path.resolve().is_relative_to(image.build.resolve()):
                hint = "move it into the worker's folder"
                raise wrong("file is outside the worker's folder", hint=hint, beside=("local", "handler"))
        return local

    def model_post_init(self, context: Any, /) -> None:
        """Remember the files."""
        if isinstance(context, SpecFiles):
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

    def where(self, location: tuple[str, ...]) -> tuple[str, ...]:
        """Where a spec's file says a part of what this is: under `local`, if that is where it comes from."""
        return ("local", *location) if self._laid_over and getattr(self._laid_over, location[0], None) else location

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
        return references(self.env) if self.weights == "cache" else ()

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
        weights = image_args(self.weights, self.env) if self.image.build else {}
        return {**weights, **self.image.build_args}

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
