"""`python -m vidctl`, and the command `vidctl`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command; Ctrl-C while it is still being loaded ends it without a traceback, as later."""
    signal.signal(signal.SIGINT, _end)
    from vidctl.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(130)


if __name__ == "__main__":
    main()
