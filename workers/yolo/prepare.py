"""Get the weights and their fastest form ready before the first start: `python prepare.py`, with the worker's env."""

from __future__ import annotations

import os
import sys

from environment import Settings, StartError


def main() -> None:
    try:
        settings = Settings.read(os.environ)
        settings.apply()
        from model import prepare  # after apply(): torch and Ultralytics read the environment when imported

        sys.stdout.write(f"{prepare(settings)}\n")
    except StartError as error:
        sys.exit(f"yolo worker: {error}")


if __name__ == "__main__":
    main()
