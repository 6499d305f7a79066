# Copied from workers/_shared/prepare.py by `make sync-workers`: edit it there.
"""Get the model ready before the first start: `python prepare.py`, with the worker's environment."""

from __future__ import annotations

import os
import sys

from environment import WORKER, Settings
from variables import StartError


def main() -> None:
    try:
        settings = Settings.read(os.environ)
        settings.apply()
        from model import prepare  # after apply(): the model's libraries read the environment when imported

        sys.stdout.write(f"{prepare(settings)}\n")
    except StartError as error:
        sys.exit(f"{WORKER} worker: {error}")


if __name__ == "__main__":
    main()
