"""Get the model ready before the first start: `python prepare.py`, with the worker's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from environment import Settings, engine_environment
from variables import StartError

WEIGHTS = Path(__file__).resolve().parent / "engine" / "weights.py"


def main() -> None:
    try:
        settings = Settings.read(os.environ)
    except StartError as error:
        sys.exit(f"qwen-vl worker: {error}")
    if settings.server_url:
        sys.stdout.write(f"the model is that of {settings.server_shown}\n")
        return
    environment = {**engine_environment(os.environ), "MODEL_NAME": settings.model}
    sys.exit(subprocess.run([settings.engine_python, str(WEIGHTS)], env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
