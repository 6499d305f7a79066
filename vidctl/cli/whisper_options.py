"""The options of Whisper's own command, as it spells them, in the words of `vidctl transcribe`."""

from __future__ import annotations

import json
from collections.abc import Iterator

_SAME = {"initial_prompt", "beam_size", "max_line_width", "max_line_count", "max_words_per_line"}
_FLAGS = {"word_timestamps", "highlight_words"}  # which take True or False there
_FIELDS = {
    *("best_of", "patience", "length_penalty", "condition_on_previous_text", "compression_ratio_threshold"),
    *("logprob_threshold", "no_speech_threshold", "hallucination_silence_threshold"),
}
_TEXTS = {"suppress_tokens", "clip_timestamps", "prepend_punctuations", "append_punctuations"}
_RENAMED = {"logprob_threshold": "log_prob_threshold"}  # faster-whisper's name for it


def translated(arguments: list[str]) -> list[str]:
    """The same command line with Whisper's spellings replaced; what is none of them stays as it is."""
    return list(_words(iter(arguments)))


def _words(rest: Iterator[str]) -> Iterator[str]:
    for word in rest:
        if word == "--":
            yield word
            yield from rest
            return
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in _KNOWN:
            yield word
            continue
        given = value if equals else next(rest, None)
        if given is None:
            yield f"--{name.replace('_', '-')}"  # which says what is missing
        elif name in _FLAGS:
            yield from _flag(name, given)
        else:
            yield from _option(name, given)


_KNOWN = {*_SAME, *_FLAGS, *_FIELDS, *_TEXTS, "output_format", "output_dir"}


def _flag(name: str, value: str) -> Iterator[str]:
    if value != "False":
        yield f"--{name.replace('_', '-')}"
    if value not in ("True", "False"):
        yield value  # somebody wrote it as a flag, and this is a source


def _option(name: str, value: str) -> Iterator[str]:
    match name:
        case "output_format":
            yield from ("--format", value)
        case "output_dir":
            yield from ("--output", value if value.endswith("/") else f"{value}/")
        case _ if name in _SAME:
            yield from (f"--{name.replace('_', '-')}", value)
        case _ if value != "None":  # its word for what is not given
            text = json.dumps(value) if name in _TEXTS else {"True": "true", "False": "false"}.get(value, value)
            yield from ("--set", f"{_RENAMED.get(name, name)}={text}")
