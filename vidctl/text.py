"""Text of and for people: durations, secrets by name and value, URLs without theirs, what a terminal may be shown."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from contextlib import suppress
from math import floor, log10
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
SENTENCE = 300  # as many characters of what a server says are read

# Words of a name (`HF_TOKEN`, `hfToken`, `MYSECRET`).  What is hidden for nothing costs less than what is shown.
_SECRET_WORD = re.compile(
    r".*(AUTH|COOKIE|CREDENTIAL|KEY|PASS|PASSPHRASE|PASSWD|PASSWORD|SECRET|SIGNATURE|TOKEN)S?"
    r"|AUTHORIZATION|BEARER|CREDS?|DSN|JWT|PAT|PWD|SIG|WEBHOOK"
)
_HARMLESS_WORDS = frozenset({"BYPASS", "COMPASS", "DONKEY", "HOTKEY", "MONKEY", "TURKEY"})
# A connection string's password, a JSON Web Token, a private key, and keys by how they begin.
_SECRET_VALUE = re.compile(
    r"\b(?:password|passwd|pwd|accountkey|sharedaccesskey|secret|token|api[_-]?key)\s*=\s*\S"
    r"|\beyJ[\w-]+\.eyJ[\w-]+\."
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?<![A-Za-z0-9])(?:hf_|rpa_|sk-|ghp_|github_pat_|glpat-|xox[abp]-|AKIA)[A-Za-z0-9_-]{8,}",
    re.IGNORECASE,
)
_URL_SECRET = re.compile(r"\b[a-z][a-z0-9+.-]*://(?:[^\s/?#@]+@|[^\s?#]*\?[^\s#])", re.IGNORECASE)
_COUNTED = frozenset({"MAX", "MIN", "NUM"})  # MAX_TOKENS is a number
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TOLD = ("error_message", "message", "error", "detail")  # what the sentence of an error is called
_LONGEST_LITERAL = 20_000  # characters
_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_UNITS = re.compile("".join(rf"(?:{_NUMBER} ?{unit} ?)?" for unit in "dhms"), re.ASCII)
_CLOCK = re.compile(rf"(?:(?:(\d{{1,9}}):)?(\d{{1,9}}):)?{_NUMBER}", re.ASCII)
DURATIONS = "write 90, 90s, 5m or 1:30"
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_secret_name(name: str) -> bool:
    """Whether a variable, a build argument or a query parameter of this name holds what nobody else may read."""
    words = [word.upper() for word in _WORD.findall(name)]
    if _COUNTED & set(words):
        words = [word for word in words if word != "TOKENS"]
    return any(word not in _HARMLESS_WORDS and _SECRET_WORD.fullmatch(word) for word in words)


def is_secret_value(value: str) -> bool:
    """Whether a value of any name holds what nobody else may read: a URL with a user or a query, a key, a password."""
    return _SECRET_VALUE.search(value) is not None or _URL_SECRET.search(value) is not None


def without_secrets(url: str) -> str:
    """A URL without user, password and query: a presigned URL's query is its key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    if parts.scheme not in ("http", "https") and not (parts.scheme and parts.netloc):
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, HIDDEN if parts.query else "", ""))


def printable(text: str) -> str:
    """What servers, models and file names say, without what a terminal would obey: escape sequences, text turned round.

    Line ends stay; see `one_line`.  Joiners and wide spaces, which isprintable() would take away too, are part of many
    languages.
    """
    return "".join("\N{REPLACEMENT CHARACTER}" if is_obeyed(c) else c for c in text)


def one_line(text: str, limit: int | None = None) -> str:
    """The same for what must not forge a line of its own: a file's name, a class, a server's sentence.

    A tab, which parts fields, is a space.  With a limit it has at most so many characters, and single spaces.
    """
    flat = printable(" ".join(text.splitlines()).replace("\t", " "))
    if limit is None:
        return flat
    flat = " ".join(flat.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def prose(text: str) -> str:
    """What a model writes, which may be many lines, or a piece of that: tabs and line ends are as good as letters."""
    return "\t".join(printable(part) for part in text.replace("\r", "").split("\t"))


def safe_json(value: object, *, indent: int | None = None) -> str:
    """JSON for a terminal too: what that would obey, and JSON lets stand as it is, is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return "".join(json.dumps(c)[1:-1] if is_obeyed(c) else c for c in text)


def reason(told: object) -> str:
    """What a server tells of an error, in one line: the sentence in it, however it is wrapped.

    Workers answer with text, with an object, a list of these, or JSON or Python's own form of them as text, often with
    some words before: worker-vllm's "Error code: 400 - {'error': {'message': …}}".
    """
    return one_line(_sentence(told, 8))


def _sentence(told: object, depth: int) -> str:
    if isinstance(told, list) and told:
        return "; ".join(_sentence(each, depth - 1) for each in told) if depth else str(told)
    if isinstance(told, dict) and depth:
        kind = str(told.get("error_type", "")).removeprefix("<class '").removesuffix("'>") if depth else ""
        for name in _TOLD:
            if told.get(name):
                return ": ".join(filter(None, (kind, _sentence(told[name], depth - 1))))
        return json.dumps(told, ensure_ascii=False, default=str)
    if not isinstance(told, str):
        return str(told)
    begin = min((at for at in (told.find("{"), told.find("[")) if at >= 0), default=-1)
    if begin < 0 or not depth:
        return told
    inner = _literal(told[begin:])
    parts = inner if isinstance(inner, list) else [inner]
    if not parts or not all(isinstance(part, dict) and any(part.get(name) for name in _TOLD) for part in parts):
        return told  # a text that has brackets in it
    sentence = _sentence(inner, depth - 1)
    before = told[:begin].strip().rstrip("-:").strip()
    return f"{before}: {sentence}" if before else sentence


def _literal(text: str) -> object:
    """The value that a text is in JSON, or as Python writes it; None if it is neither."""
    if len(text) > _LONGEST_LITERAL:
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return ast.literal_eval(text)
    return None


def is_obeyed(character: str) -> bool:
    """Whether a terminal would act on it instead of showing it; a line's end is none."""
    return character != "\n" and (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in _TURNS
    )


def span(seconds: float) -> str:
    """A time that passed, as people say it: `95 s`, `3 min`, `4 h`, `5 d`."""
    for size, unit in ((60, "s"), (60, "min"), (24, "h")):
        if seconds < 2 * size:
            return f"{seconds:.0f} {unit}"
        seconds /= size
    return f"{seconds:.0f} d"


def duration_s(text: str) -> float | None:
    """The seconds of `90`, `90s`, `5m`, `1h30m`, `1:30`; None for what is no duration."""
    text = text.strip()
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        is_time = not (found[2] and seconds >= 60) and not (found[1] and minutes >= 60)
        return hours * 3600 + minutes * 60 + seconds if is_time else None
    if text and (found := _UNITS.fullmatch(text)):
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return None


def dollars(amount: float) -> str:
    """`$14.40`, and of less than a dollar the first digits that are there: `$0.0000310`."""
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.{min(9, 2 - floor(log10(amount)))}f}"
