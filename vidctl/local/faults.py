"""Going on after a failure: what goes wrong with one endpoint or delivery must not end the care for the others."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)


class Faults:
    """Survives failures and logs each once, however often it happens before the thing works again."""

    def __init__(self) -> None:
        self._reported: dict[str, str] = {}

    @contextmanager
    def survived(self, what: str) -> Iterator[None]:
        """End the block at an exception, which goes to the log with its traceback instead of up."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  (whatever it is: a full disk, a row that nobody foresaw)
            if self._reported.get(what) != repr(error):
                self._reported[what] = repr(error)
                _log.error("%s failed, the rest goes on", what, exc_info=error)
        else:
            self._reported.pop(what, None)
