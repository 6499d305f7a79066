"""The GPUs of a spec: names that RunPod rents, of pools that it takes together, with the memory that is needed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails

from vidctl.runpod import gpus, limits
from vidctl.spec.fields import (
    SIZE_PATTERN,
    Flag,
    ItemErrors,
    Items,
    SpecPart,
    Whole,
    between,
    items_follow,
    read_gigabytes,
    wrong,
)


def _are_a_choice(names: Items) -> ItemErrors:
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


def _gpu_name(name: str) -> str:
    try:
        gpus.resolve(name)
    except gpus.UnknownGpuError as error:
        raise wrong(error.message, hint=error.hint, rule="unknown GPU") from error
    return name


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


GpuName = Annotated[str, AfterValidator(_gpu_name)]
GpuMemory = Annotated[
    int,
    BeforeValidator(read_gigabytes),
    AfterValidator(_have_memory),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]
GpuCount = Annotated[Whole, between(1, 99, "GPU count must be between 1 and 99")]


class Gpu(SpecPart):
    """The GPUs, best first.  One name, or a list of names, stands for `names:` alone."""

    names: Annotated[
        tuple[GpuName, ...],
        Field(strict=False, json_schema_extra={"minItems": 1}),
        AfterValidator(_not_empty),
        items_follow(_are_a_choice),
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
