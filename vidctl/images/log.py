"""The whole log of a build or a push, in a file that only its owner can read, without passwords."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from vidctl.errors import ImageError
from vidctl.project.state_folder import make_state_folder
from vidctl.text import is_secret_name

_LAST_LINES = 20
_SHORTEST_SECRET = 4  # hiding every "1" of a log would hide the log
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def secrets_of(build_args: Mapping[str, str]) -> set[str]:
    """The values of arguments whose names say that they are secret."""
    return {value for name, value in build_args.items() if is_secret_name(name)}


class ImageLog:
    """`<key>-<time>-<what>.log`, written line by line; `last` has the newest lines.

    Raise ImageError, and leave no file, when the disk takes no more.
    """

    def __init__(self, folder: Path, key: str, what: str, *, secrets: Collection[str]) -> None:
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
        self.path = folder / f"{key}-{moment}-{what}.log"
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._secrets = sorted((each for each in secrets if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._begun = ""

    def __enter__(self) -> ImageLog:
        try:
            make_state_folder(self.path.parent)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        self._file = open(descriptor, "w", encoding="utf-8", errors="replace")  # noqa: PTH123  closed in __exit__
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self.write("\n" if self._begun else "")
            self._file.close()
        except OSError as error:
            self._discard()
            if kind is None:
                raise self._unwritable(error) from error

    def write(self, text: str) -> list[str]:
        """Take a piece of text that may end anywhere; return the lines that it completes, made harmless."""
        *whole, self._begun = re.split(r"\r?\n|\r", self._begun + text)
        lines = [self.harmless(line) for line in whole]
        try:
            self._file.writelines(f"{line}\n" for line in lines)
            self._file.flush()
        except OSError as error:
            self._discard()
            raise self._unwritable(error) from error
        self.last.extend(filter(str.strip, lines))
        return lines

    def harmless(self, text: str) -> str:
        """The text without secrets and without what a terminal would obey."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _CONTROL.sub("", text)

    def _discard(self) -> None:
        self.path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> ImageError:
        return ImageError(
            f"{self.path}: cannot be written: {error.strerror or error}",
            hint="check disk space and permissions there",
        )
