"""Get the model ready before the first start: `python prepare.py`, with the worker's environment."""

from __future__ import annotations

import os
import sys

from environment import Settings, StartError


def main() -> None:
    try:
        settings = Settings.read(os.environ)
        settings.apply()
        from weights import find  # after apply(): Hugging Face's libraries read the environment when imported

        sys.stdout.write(f"{find(settings).name} is ready\n")
    except StartError as error:
        sys.exit(f"whisper worker: {error}")


if __name__ == "__main__":
    main()
