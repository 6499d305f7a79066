"""`python -m vidctl.local --state-dir D --port P`: serve until stopped, with the key in D/credentials.json.

`--isolation` is what the runtime reports to a deploy; the runtime runs any image that it is given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import get_args

from vidctl.errors import LocalRuntimeError
from vidctl.local import app
from vidctl.local.control_plane.rest import PAGE_SIZE
from vidctl.local.daemon import Isolation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m vidctl.local", description="RunPod's APIs on this machine.")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--isolation", choices=get_args(Isolation), default="process")
    parser.add_argument(
        "--page-size", type=_page_size, default=PAGE_SIZE, help="most entries in one page of a REST v2 list"
    )
    parser.add_argument("--no-rate-limits", action="store_true", help="never answer 429, for load tests")
    options = parser.parse_args()
    # Jobs, results, what workers print: none of it is for other users of this machine.
    os.umask(0o077)
    try:
        app.serve(
            options.state_dir,
            port=options.port,
            api_key=_api_key(options.state_dir),
            isolation=options.isolation,
            page_size=options.page_size,
            has_rate_limits=not options.no_rate_limits,
            on_ready=_ready,
        )
    except LocalRuntimeError as error:
        print(error, file=sys.stderr)  # noqa: T201  (the runtime's log)
        return error.exit_status
    return 0


def _page_size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"invalid page size {text!r}: expected a number from 1")
    return int(text)


def _api_key(state_dir: Path) -> str:
    path = state_dir / "credentials.json"
    try:
        key = json.loads(path.read_text())["api_key"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalRuntimeError(
            f"API key not found in {path}: {error}", hint="start the local runtime: vidctl local up"
        ) from error
    return str(key)


def _ready() -> None:
    print("ready", flush=True)  # noqa: T201  (the runtime's log)


if __name__ == "__main__":
    sys.exit(main())
