"""Text for people: which names are of secrets, URLs without theirs, and what is safe on a terminal."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"

# Words of a name (`HF_TOKEN`, `hfToken`, `MYSECRET`).  What is hidden for nothing costs less than what is shown.
_SECRET_WORD = re.compile(
    r".*(AUTH|COOKIE|CREDENTIAL|KEY|PASS|PASSPHRASE|PASSWD|PASSWORD|SECRET|SIGNATURE|TOKEN)S?"
    r"|AUTHORIZATION|BEARER|CREDS?|PAT|PWD|SIG"
)
_HARMLESS_WORDS = frozenset({"BYPASS", "COMPASS", "DONKEY", "HOTKEY", "MONKEY", "TURKEY"})
_COUNTED = frozenset({"MAX", "MIN", "NUM"})  # MAX_TOKENS is a number
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_secret_name(name: str) -> bool:
    """Whether a variable, a build argument or a query parameter of this name holds what nobody else may read."""
    words = [word.upper() for word in _WORD.findall(name)]
    if _COUNTED & set(words):
        words = [word for word in words if word != "TOKENS"]
    return any(word not in _HARMLESS_WORDS and _SECRET_WORD.fullmatch(word) for word in words)


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


def one_line(text: str) -> str:
    """The same for what must not forge a line of its own: a file's name, a class, a server's sentence."""
    return printable(" ".join(text.splitlines()))


def is_obeyed(character: str) -> bool:
    """Whether a terminal would act on it instead of showing it; a line's end is none."""
    return character != "\n" and (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in _TURNS
    )
