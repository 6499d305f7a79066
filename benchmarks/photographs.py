"""200 photographs of 1280x720 that are the same on every machine: pieces of the two that come with Ultralytics."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from PIL import Image, ImageEnhance

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (1280, 720)
COUNT = 200
GRAIN = 0.04  # how much of an image is noise, so that no two compress alike and none compresses too well
QUALITY = 88


def make(assets: Path, folder: Path, *, count: int = COUNT) -> None:
    """Write `count` JPEG files into `folder` from `bus.jpg` and `zidane.jpg` in `assets`."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [Image.open(assets / name).convert("RGB") for name in ("bus.jpg", "zidane.jpg")]
    for number in range(count):
        image = _image(scenes[number % len(scenes)], random.Random(number))
        image.save(folder / f"photograph-{number:03}.jpg", "JPEG", quality=QUALITY)


def _image(scene: Image.Image, dice: random.Random) -> Image.Image:
    piece = scene.resize(SIZE, Image.Resampling.BICUBIC, box=_piece(scene.size, dice))
    if dice.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    lit = ImageEnhance.Brightness(piece).enhance(dice.uniform(0.7, 1.3))
    grain = Image.frombytes("L", SIZE, dice.randbytes(SIZE[0] * SIZE[1])).convert("RGB")
    return Image.blend(lit, grain, GRAIN)


def _piece(size: tuple[int, int], dice: random.Random) -> tuple[float, float, float, float]:
    """A random part of 16:9, from six tenths of what fits up to all of it."""
    width = min(size[0], size[1] * SIZE[0] / SIZE[1]) * dice.uniform(0.6, 1.0)
    height = width * SIZE[1] / SIZE[0]
    left, top = dice.uniform(0, size[0] - width), dice.uniform(0, size[1] - height)
    return left, top, left + width, top + height
