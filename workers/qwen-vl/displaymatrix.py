# Copied from workers/_shared/displaymatrix.py by `make sync-workers`: edit it there.
"""How the frames of a video are turned to be displayed: by the display matrix that its file has for them."""

from __future__ import annotations

import struct
from typing import Any

from PIL import Image

# How a matrix (a, b; c, d) moves what is right and what is below (ISO 14496-12: x' = ax + cy, y' = bx + dy), by the
# signs of its larger pair.  The eighth is the identity.
UPRIGHT = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def upright(frame: Any) -> Image.Transpose | None:
    """What to do with a frame of PyAV so that it is upright; the nearest quarter, for a camera held askew.

    A frame's own `rotation` knows of no mirror.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    data = b"" if matrix is None else bytes(matrix)
    if len(data) != struct.calcsize("=9i"):
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0
    else:
        a = d = 0
    return UPRIGHT.get((_sign(a), _sign(b), _sign(c), _sign(d)))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
