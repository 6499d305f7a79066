"""Put the transcripts of chunks together into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from vidctl.tasks.transcribe.model import Gap, JobTranscript, Transcript, TranscriptPart


def stitch(source: str, parts: Sequence[TranscriptPart]) -> Transcript:
    """Put the parts of a source together, in order, each segment at its place in the source."""
    if len(parts) == 1 and parts[0].transcript is not None and parts[0].transcript.duration is not None:
        # Whoever decoded all of it knows better than its container.
        parts = [replace(parts[0], end_s=parts[0].start_s + parts[0].transcript.duration)]
    transcripts = [part.transcript for part in parts if part.transcript is not None]
    segments = [segment for part in parts for segment in part.segments]
    processing = [each.processing_s for each in transcripts if each.processing_s is not None]
    return Transcript(
        source,
        round(parts[-1].end_s, 3) if parts else 0.0,
        *_language(transcripts),
        tuple(replace(segment, id=n) for n, segment in enumerate(segments)),
        tuple(Gap(part.start_s, part.end_s, part.error) for part in parts if part.error is not None),
        next((each.model for each in transcripts if each.model is not None), None),
        round(sum(processing), 3) if processing else None,
        tuple(dict.fromkeys(warning for each in transcripts for warning in each.warnings)),
    )


def _language(transcripts: Sequence[JobTranscript]) -> tuple[str | None, float | None]:
    """The language of the most speech, and how sure its parts are of it, each by its speech."""
    speech: dict[str, float] = defaultdict(float)
    weighed: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in transcripts:
        if each.language is not None:
            # Silence has a language too, which counts only where there is nothing else.
            weight_s = sum(segment.end - segment.start for segment in each.segments) + 1e-6
            speech[each.language] += weight_s
            if each.language_probability is not None:
                weighed[each.language].append((each.language_probability, weight_s))
    language = max(speech, key=speech.__getitem__, default=None)
    known = weighed[language] if language is not None else []
    total_s = sum(weight_s for _, weight_s in known)
    return language, round(sum(p * weight_s for p, weight_s in known) / total_s, 4) if known else None
