"""Images of circles, squares and triangles whose boxes are known: what tests/data/shapes.pt was trained to find.

Pillow and random only, so that every test can draw them.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

NAMES = ("circle", "square", "triangle")


@dataclass(frozen=True)
class Shape:
    """One of NAMES and its box (x1, y1, x2, y2) in pixels."""

    name: str
    box: tuple[int, int, int, int]


def draw(
    seed: int, size: tuple[int, int] = (320, 320), *, count: int = 3, plain: bool = False
) -> tuple[Image.Image, tuple[Shape, ...]]:
    """Draw up to `count` shapes that do not touch, on a blotchy or `plain` background; the same for the same seed."""
    rng = random.Random(seed)
    image = _background(rng, size, plain=plain)
    pen = ImageDraw.Draw(image)
    shapes: list[Shape] = []
    for _ in range(count):
        box = _free_place(rng, size, [shape.box for shape in shapes])
        if box is not None:
            shapes.append(Shape(rng.choice(NAMES), box))
            _draw_shape(pen, shapes[-1], _colour(rng))
    return image, tuple(shapes)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Give the bytes of a file of this image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def overlap(one: tuple[float, ...] | list[float], other: tuple[float, ...] | list[float]) -> float:
    """Give the intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (_area(one) + _area(other) - shared)


def _area(box: tuple[float, ...] | list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _background(rng: random.Random, size: tuple[int, int], *, plain: bool) -> Image.Image:
    if plain:
        return Image.new("RGB", size, tuple(rng.randrange(20, 90) for _ in range(3)))
    blocks = (size[0] // 64 + 2, size[1] // 64 + 2)
    noise = bytes(rng.randrange(20, 130) for _ in range(blocks[0] * blocks[1] * 3))
    return Image.frombytes("RGB", blocks, noise).resize(size, Image.Resampling.BICUBIC)


def _free_place(
    rng: random.Random, size: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    unit = min(size) / 320
    for _ in range(50):
        radius = round(rng.randrange(22, 46) * unit)
        x = rng.randrange(radius + 4, size[0] - radius - 4)
        y = rng.randrange(radius + 4, size[1] - radius - 4)
        if all(max(abs(x - (a + c) / 2), abs(y - (b + d) / 2)) > radius + (c - a) / 2 + 6 for a, b, c, d in taken):
            return (x - radius, y - radius, x + radius, y + radius)
    return None


def _colour(rng: random.Random) -> tuple[int, int, int]:
    """Bright in one channel at least, so that a shape stands out from every background."""
    levels = [rng.randrange(190, 256), rng.randrange(256), rng.randrange(60)]
    rng.shuffle(levels)
    return (levels[0], levels[1], levels[2])


def _draw_shape(pen: ImageDraw.ImageDraw, shape: Shape, colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = shape.box
    match shape.name:
        case "circle":
            pen.ellipse(shape.box, fill=colour)
        case "square":
            pen.rectangle(shape.box, fill=colour)
        case _:
            pen.polygon([((x1 + x2) // 2, y1), (x1, y2), (x2, y2)], fill=colour)
