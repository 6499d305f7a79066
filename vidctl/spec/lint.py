"""Tell what in a valid spec will not hold: here of any worker, and of one task's in the module that `kinds` names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from vidctl.kinds import KINDS
from vidctl.runpod import gpus
from vidctl.spec.document import Location
from vidctl.spec.model import EndpointSpec


@dataclass(frozen=True)
class SpecWarning:
    """One setting that cannot hold, and where the spec says it."""

    field: Location
    message: str
    hint: str | None = None


def lint(spec: EndpointSpec) -> list[SpecWarning]:
    """List what in a spec cannot hold at RunPod, whatever its worker is, and then what its task knows of it."""
    found = [*_narrow(spec), *_moving(spec)]
    kind = KINDS.get(spec.task or "")
    if kind and kind.lint:
        found += import_module(kind.lint).lint(spec)
    return found


MOVES = "this tag may change with any push, and RunPod's hosts keep the image that they have: pin a version"


def moves(reference: str | None) -> bool:
    """Whether a prebuilt image's name is not that of one version."""
    name = (reference or "@").rpartition("/")[2]
    return "@" not in name and (":" not in name or name.endswith(":latest"))


def _moving(spec: EndpointSpec) -> Iterator[SpecWarning]:
    if moves(spec.image.reference):
        yield SpecWarning(("image",), f"{spec.image.reference}: {MOVES}")


def _narrow(spec: EndpointSpec) -> Iterator[SpecWarning]:
    """RunPod takes a machine only if its version is in the list (docs, endpoint-configurations)."""
    if not spec.cuda:
        return
    oldest = min(spec.cuda, key=version_of)
    newer = [each for each in gpus.CUDA_VERSIONS if version_of(each) > version_of(oldest) and each not in spec.cuda]
    if newer:
        message = f"RunPod matches these versions exactly: machines with CUDA {', '.join(newer)} are left out"
        yield SpecWarning(("cuda",), message, f'add them, or write min_cuda: "{oldest}"')


def version_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
