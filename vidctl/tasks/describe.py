"""Ask a vision-language model about pictures, and read the answer.  Pure: no network, no files.

The fields are those of the worker in workers/qwen-vl, or, with the protocol `worker-vllm`, those of OpenAI's chat
completions in the envelope that RunPod's own worker of that name takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vidctl.tasks.answer import Failed

OFFICIAL = "worker-vllm"  # the protocol of RunPod's own worker

Protocol: TypeAlias = str | None  # OFFICIAL, or None for vidctl's own worker; UsageError for any other

PIXELS_PER_TOKEN = 32 * 32
MAX_PIXELS = 1_048_576


@dataclass(frozen=True)
class Sent:
    """One picture of a question, as it is sent; `at_s` is its time in a film."""

    source: str
    jpeg: bytes = field(repr=False)
    width: int
    height: int
    at_s: float | None = None


@dataclass(frozen=True)
class DescribeOptions:
    """What to ask and how to answer; UsageError for a value out of range."""

    prompt: str
    system: str | None = None
    max_tokens: int = 512
    temperature: float = 0.7
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    regex: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A picture as the model saw it, and what it cost."""

    width: int
    height: int
    tokens: int


@dataclass(frozen=True)
class Description:
    """What a model says of one source, or of several that were asked about together.

    `data` is the answer as a value, where a schema was asked for.
    """

    source: str
    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    image_tokens: int | None = None
    finish_reason: str | None = None
    data: Any = None
    images: tuple[Seen, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The worker's own fields, with the source in front; those without a value are left out."""
        raise NotImplementedError


Result = Description | Failed


def pixel_budget(count: int) -> int:
    """How many pixels each of `count` pictures in one question may have."""
    raise NotImplementedError


def image_tokens(width: int, height: int) -> int:
    """How many tokens a picture costs."""
    raise NotImplementedError


def encode(
    pictures: Sequence[Sent],
    options: DescribeOptions,
    protocol: Protocol,
    *,
    model: str | None = None,
    stream: bool = False,
) -> dict[str, Any]:
    """The job's input."""
    raise NotImplementedError


def decode(output: object, source: str, options: DescribeOptions, protocol: Protocol) -> Description:
    """Read the answer to `encode(…)`.

    Raises ApiError that names the field for what is no answer, JobFailed for an error in an answer's place, and
    SchemaMismatch for an answer that is not of the form asked for.
    """
    raise NotImplementedError


def repair(options: DescribeOptions, text: str, problem: str) -> DescribeOptions:
    """The question once more, with what was wrong with the answer."""
    raise NotImplementedError


class StreamReader:
    """Reads the outputs of a job's /stream."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def feed(self, chunk: object) -> str:
        """The new text in one output, "" if there is none; JobFailed for an error."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """All the text so far."""
        raise NotImplementedError

    @property
    def has_gap(self) -> bool:
        """Whether a chunk is missing, so that `text` is not all of it."""
        raise NotImplementedError

    @property
    def output(self) -> object | None:
        """What `decode` reads, once the stream has ended; None before, or if it ended without a word about it."""
        raise NotImplementedError
