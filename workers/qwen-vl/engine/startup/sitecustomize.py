"""Let PyPI's torchvision be imported beside a CPU-only torch: vLLM's image processors want it, not its operators.

PyPI's torchvision is built for CUDA.  Beside a torch without it, its compiled operators do not load, and then
`import torchvision` fails with "operator torchvision::nms does not exist".  Where they load, nothing happens here.

Python imports a module of this name at its start, whoever starts it: vLLM starts Pythons of its own to look at a model
and to run it.  This folder is on their PYTHONPATH.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

# torchvision's import describes these two for autograd and tracing, so they must be declared before.
_DECLARED = ("nms", "qnms")
_kept: list[object] = []  # torch drops the declarations when the library object goes


class _Finder:
    """Declares the operators when torchvision is first imported: torch takes seconds to import."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name == "torchvision" and not _kept:
            found = PathFinder.find_spec(name)
            if found is not None and not _own_operators_load(found):
                _declare()
        return None  # the usual finders go on


def _own_operators_load(found: ModuleSpec) -> bool:
    import torch

    library = next(Path(next(iter(found.submodule_search_locations or [""]))).glob("_C*.so"), None)
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _DECLARED:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)


sys.meta_path.insert(0, _Finder)
