"""vidctl: from a YAML file to a RunPod Serverless GPU endpoint, and from an image, an audio file or a video to an
answer.

    from vidctl import Client

    for found in Client().detect("sample.jpg").detections:
        print(found.class_name, found.confidence, found.bbox)
    print(Client().transcribe("clip.mp4").to_srt())
    print(Client().describe("sample.jpg", "What is happening here?").text)

Everything here is loaded at its first use, so that `import vidctl` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vidctl.client import Client
    from vidctl.errors import (
        ApiError,
        AuthError,
        BusyError,
        CostLimitError,
        ImageError,
        InterruptionError,
        JobFailedError,
        LocalRuntimeError,
        MediaError,
        NetworkError,
        NoSettingError,
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
    from vidctl.tasks.call import JobResult
    from vidctl.tasks.describe.jobs import Described, Effort
    from vidctl.tasks.describe.model import DescribeOptions, Description
    from vidctl.tasks.describe.streaming import DescriptionStream
    from vidctl.tasks.detect.model import Detection, Detections, DetectOptions
    from vidctl.tasks.detect.run import Found
    from vidctl.tasks.results import Failed
    from vidctl.tasks.transcribe.model import Gap, Segment, TranscribeOptions, Transcript, Word
    from vidctl.tasks.transcribe.run import Transcribed, TranscriptProgress

__all__ = [
    "ApiError",
    "AuthError",
    "BusyError",
    "Client",
    "CostLimitError",
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
    "JobResult",
    "LocalRuntimeError",
    "MediaError",
    "NetworkError",
    "NoSettingError",
    "NotDeployedError",
    "NotOwnedError",
    "PartialFailureError",
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
    "TranscriptProgress",
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
    "CostLimitError",
    "ImageError",
    "InterruptionError",
    "JobFailedError",
    "MediaError",
    "NetworkError",
    "NoSettingError",
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
    "JobResult": "vidctl.tasks.call",
    **dict.fromkeys(("Described", "Effort"), "vidctl.tasks.describe.jobs"),
    "DescriptionStream": "vidctl.tasks.describe.streaming",
    **dict.fromkeys(("DescribeOptions", "Description"), "vidctl.tasks.describe.model"),
    "Found": "vidctl.tasks.detect.run",
    "Detection": "vidctl.tasks.detect.model",
    "Detections": "vidctl.tasks.detect.model",
    "DetectOptions": "vidctl.tasks.detect.model",
    "Failed": "vidctl.tasks.results",
    **dict.fromkeys(("Gap", "Segment", "TranscribeOptions", "Transcript", "Word"), "vidctl.tasks.transcribe.model"),
    **dict.fromkeys(("TranscriptProgress", "Transcribed"), "vidctl.tasks.transcribe.run"),
    **dict.fromkeys(_ERRORS, "vidctl.errors"),
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
