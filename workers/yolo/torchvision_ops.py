"""Let PyPI's torchvision work beside a CPU-only torch, as far as Ultralytics needs it.

PyPI's torchvision is built for CUDA.  Beside a torch without it, its compiled operators do not load, and then
`import torchvision` fails with "operator torchvision::nms does not exist".  Where they load, nothing happens here.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

# torchvision's import describes these two for autograd and tracing, so they must be declared before.
_DECLARED = ("nms", "qnms")
_library: torch.library.Library | None = None


def make_usable() -> bool:
    """Import torchvision, with `ops.nms` in numpy where its own cannot load; say whether that was so."""
    global _library  # noqa: PLW0603 - torch drops the declarations when the library object goes
    if _library is not None:
        return True
    if _own_operators_load():
        return False
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _DECLARED:
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    torchvision.ops.nms = nms
    return True


def _own_operators_load() -> bool:
    found = PathFinder.find_spec("torchvision")
    folders = found.submodule_search_locations if found else None
    library = next(Path(next(iter(folders or [""]))).glob("_C*.so"), None)
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Do as torchvision.ops.nms: indices (int64) of the boxes (n, 4: x1 y1 x2 y2) kept, best score first."""
    kept = _kept(boxes.detach().float().cpu().numpy(), scores.detach().float().cpu().numpy(), iou_threshold)
    return torch.as_tensor(kept, dtype=torch.int64, device=boxes.device)


def _kept(boxes: NDArray[np.float32], scores: NDArray[np.float32], iou_threshold: float) -> list[int]:
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    remaining = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while remaining.size:
        best, remaining = remaining[0], remaining[1:]
        kept.append(int(best))
        corners_low = np.maximum(boxes[best, :2], boxes[remaining, :2])
        corners_high = np.minimum(boxes[best, 2:], boxes[remaining, 2:])
        shared = np.prod(np.clip(corners_high - corners_low, 0, None), axis=1)
        remaining = remaining[~(shared > iou_threshold * (areas[best] + areas[remaining] - shared))]
    return kept
