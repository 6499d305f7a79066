"""Write transcripts in the formats of Whisper's own command, and as the one document that `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vidctl.tasks.formats import ResultFormat, by_name
from vidctl.tasks.results import Failed
from vidctl.tasks.transcribe import subtitles
from vidctl.tasks.transcribe.model import Transcript
from vidctl.tasks.transcribe.subtitles import Layout

SCHEMA = "vidctl.transcribe/1"


@dataclass(frozen=True)
class TranscriptContext:
    """What is known besides the transcripts: the layout of subtitles, and the endpoint that answered.

    The times of words are in JSON only where somebody `wants_words`: subtitles may need them too.
    """

    layout: Layout = field(default_factory=Layout)
    wants_words: bool = True
    endpoint: str | None = None


TranscriptFormat = ResultFormat[Transcript | Failed, TranscriptContext]


def _each(write: Callable[[Transcript, TranscriptContext], str]) -> Callable[..., str]:
    """What writes transcripts one after the other; a failed one has no text."""

    def written(results: Sequence[Transcript | Failed], context: TranscriptContext) -> str:
        return "".join(write(each, context) for each in results if isinstance(each, Transcript))

    return written


def _json(result: Transcript, context: TranscriptContext) -> str:
    return subtitles.json(result if context.wants_words else result.without_words())


def _document(results: Sequence[Transcript | Failed], context: TranscriptContext) -> str:
    document = {
        "schema": SCHEMA,
        "endpoint": context.endpoint,
        "results": [each.to_dict() for each in results],
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


FORMATS: dict[str, TranscriptFormat] = by_name(
    ResultFormat("txt", _each(lambda result, _: subtitles.txt(result)), ("txt",)),
    ResultFormat("srt", _each(lambda result, context: subtitles.srt(result, context.layout)), ("srt",)),
    ResultFormat("vtt", _each(lambda result, context: subtitles.vtt(result, context.layout)), ("vtt",)),
    ResultFormat("tsv", _each(lambda result, _: subtitles.tsv(result)), ("tsv",)),
    ResultFormat("json", _each(_json), ("json",)),
)
DOCUMENT: TranscriptFormat = ResultFormat("document", _document, ("json",), is_document=True)
