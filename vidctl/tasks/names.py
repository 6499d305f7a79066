"""Name the files that are made of sources: safe on every system, and no two alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import PurePath
from urllib.parse import unquote, urlsplit

# What Linux, macOS or Windows does not take in a name, and what is no character at all.
_REFUSED = re.compile(r"""[\x00-\x1f\x7f-\x9f/\\<>:"|?*\ud800-\udfff]""")


def stems(sources: Sequence[str], folders: Sequence[PurePath] | None = None) -> list[str]:
    """A file name without suffix for each source, to the letter where every system takes it, below its folder.

    Those that would be the same on some system get -2, -3, …: first those whose names had to be changed, for a reader
    finds the labels of an image by its very name.
    """
    pairs = zip(sources, folders or repeat(PurePath()), strict=folders is not None)
    names = ["/".join([*map(safe_name, folder.parts), _stem(source)]) for source, folder in pairs]
    is_changed = [_REFUSED.search(_own_stem(source)) is not None for source in sources]
    order = sorted(range(len(names)), key=is_changed.__getitem__)
    numbered = dict(zip(order, unique(names[at] for at in order), strict=True))
    return [numbered[at] for at in range(len(names))]


def unique(names: Iterable[str]) -> list[str]:
    """The names, with -2, -3, … for those that some file system takes for one that was before."""
    taken: set[str] = set()
    counts: dict[str, int] = {}  # the last number that each got: whoever comes next need not count from 2 again
    numbered: list[str] = []
    for name in names:
        each, folded = name, _folded(name)
        while _folded(each) in taken:
            counts[folded] = counts.get(folded, 1) + 1
            each = f"{name}-{counts[folded]}"
        taken.add(_folded(each))
        numbered.append(each)
    return numbered


def is_numbered(stem: str, source: str) -> bool:
    """Whether a source's stem has a number of its own, because another source has that name."""
    return PurePath(stem).name != _stem(source)


def safe_name(text: str) -> str:
    """The text as the name of a file or folder: what some file system refuses becomes `_`; never hidden."""
    return _fitted(_REFUSED.sub("_", text).strip(" ."), 150).rstrip(" .") or "_"


def _fitted(name: str, size: int) -> str:
    return name.encode()[:size].decode(errors="ignore")


def _folded(name: str) -> str:
    """What names have in common that some file system takes for one: that of a Mac knows no case and no normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _stem(source: str) -> str:
    # File systems allow 255 bytes, and a number and a suffix follow.
    return _fitted(_REFUSED.sub("_", _own_stem(source)), 240) or "_"


def _own_stem(source: str) -> str:
    """The name to the letter; of a URL it is decoded: `%20` is a space."""
    path = unquote(urlsplit(source).path) if source.lower().startswith(("https://", "http://")) else source
    return PurePath(path).stem
