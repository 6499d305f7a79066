"""The `yolo` command, where PyPI's torchvision may lack its CUDA: run by the worker's Python.

It is the `yolo` script with one call before it, which does nothing where torchvision is whole.
"""

import sys
from pathlib import Path

import ultralytics  # type: ignore[import-not-found]  # noqa: F401  first: it sets the threads that a user gets

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workers/yolo"))

import torchvision_ops  # type: ignore[import-not-found]  # the worker's
from ultralytics.cfg import entrypoint  # type: ignore[import-not-found]

torchvision_ops.make_usable()
entrypoint()
