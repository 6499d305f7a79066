"""Run one vidctl command; write which of vidctl's functions were called, in the order of their first calls.

    python first_calls.py FILE.json ARGUMENT…

A function is told by its file and first line; the exit status is the command's.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from vidctl import cli


def main(output: str, *arguments: str) -> int:
    root = str(Path(cli.__file__).parent.parent)
    called: dict[tuple[str, int], None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            called.setdefault((frame.f_code.co_filename, frame.f_code.co_firstlineno))

    threading.setprofile(note)
    sys.setprofile(note)
    status = cli.run(list(arguments))
    sys.setprofile(None)
    Path(output).write_text(json.dumps(list(called)))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
