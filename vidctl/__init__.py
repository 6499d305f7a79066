"""vidctl: from a YAML file to a RunPod Serverless GPU endpoint, and from a picture, a sound or a film to an answer.

    from vidctl import Client

    for found in Client().detect("frame.jpg").detections:
        print(found.class_name, found.confidence, found.bbox)
    print(Client().transcribe("talk.mp4").to_srt())
    print(Client().describe("frame.jpg", "What is happening here?").text)

Everything here is loaded at its first use, so that `import vidctl` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vidctl.client import Client
    from vidctl.description import Described, DescriptionStream, Effort
    from vidctl.detection import Found
    from vidctl.errors import (
        ApiError,
        AuthError,
        BusyError,
        ImageError,
        InterruptionError,
        JobFailedError,
        LocalRuntimeError,
        MediaError,
        NetworkError,
        NotDeployedError,
        NotOwnedError,
        PartialFailureError,
        RefusedError,
        RetiredError,
        RolledBackError,
        SchemaMismatchError,
        SeveralError,
        SpecError,
        TimedOutError,
        UnansweredError,
        UsageError,
        VidctlError,
    )
    from vidctl.tasks.answer import Failed
    from vidctl.tasks.describe import DescribeOptions, Description
    from vidctl.tasks.detect import Detection, Detections, DetectOptions
    from vidctl.tasks.transcribe import Gap, Segment, TranscribeOptions, Transcript, Word
    from vidctl.transcription import Passing, Transcribed

__all__ = [
    "ApiError",
    "AuthError",
    "BusyError",
    "Client",
    "DescribeOptions",
    "Described",
    "Description",
    "DescriptionStream",
    "DetectOptions",
    "Detection",
    "Detections",
    "Effort",
    "Failed",
    "Found",
    "Gap",
    "ImageError",
    "InterruptionError",
    "JobFailedError",
    "LocalRuntimeError",
    "MediaError",
    "NetworkError",
    "NotDeployedError",
    "NotOwnedError",
    "PartialFailureError",
    "Passing",
    "RefusedError",
    "RetiredError",
    "RolledBackError",
    "SchemaMismatchError",
    "Segment",
    "SeveralError",
    "SpecError",
    "TimedOutError",
    "TranscribeOptions",
    "Transcribed",
    "Transcript",
    "UnansweredError",
    "UsageError",
    "VidctlError",
    "Word",
    "__version__",
]

_ERRORS = (
    "ApiError",
    "AuthError",
    "BusyError",
    "ImageError",
    "InterruptionError",
    "JobFailedError",
    "MediaError",
    "NetworkError",
    "NotDeployedError",
    "NotOwnedError",
    "PartialFailureError",
    "RefusedError",
    "RetiredError",
    "RolledBackError",
    "LocalRuntimeError",
    "SchemaMismatchError",
    "SeveralError",
    "SpecError",
    "TimedOutError",
    "UnansweredError",
    "UsageError",
    "VidctlError",
)
_HOMES = {
    "Client": "vidctl.client",
    **dict.fromkeys(("Described", "DescriptionStream", "Effort"), "vidctl.description"),
    **dict.fromkeys(("DescribeOptions", "Description"), "vidctl.tasks.describe"),
    "Found": "vidctl.detection",
    "Detection": "vidctl.tasks.detect",
    "Detections": "vidctl.tasks.detect",
    "DetectOptions": "vidctl.tasks.detect",
    "Failed": "vidctl.tasks.answer",
    **dict.fromkeys(("Gap", "Segment", "TranscribeOptions", "Transcript", "Word"), "vidctl.tasks.transcribe"),
    **dict.fromkeys(("Passing", "Transcribed"), "vidctl.transcription"),
    **dict.fromkeys(_ERRORS, "vidctl.errors"),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
