"""How many pixels an image may have, and how many tokens it costs."""

from __future__ import annotations

import math

SIDE = 32  # of the square of pixels that is one token: patches of 16 pixels, merged 2 by 2
PIXELS_PER_TOKEN = SIDE * SIDE
MAX_PIXELS = 1_048_576  # of one image: 1024 tokens, in which the print of a page can be read
MIN_PIXELS = 64 * PIXELS_PER_TOKEN  # what the model's processor enlarges a smaller image to
LONGEST_RATIO = 200  # of the sides of an image; the model's processor refuses what is longer

MAX_MODEL_LEN = 8192  # tokens of prompt, images and answer together, where nothing else is known
WORKER_IMAGES = 16  # MAX_IMAGES of workers/qwen-vl, where its environment does not say it
_WORDS_TOKENS = 1536  # of them for a prompt, a schema and an answer to be mended

# What the model's processor enlarges and shrinks to (preprocessor_config.json of Qwen/Qwen3-VL-8B-Instruct).
_SEEN_PIXELS = (65_536, 16_777_216)


def pixel_budget(count: int, *, max_model_len: int = MAX_MODEL_LEN, max_tokens: int = 512) -> int:
    """How many pixels each of `count` images in one question may have, so that they fit with the answer.

    As many as are useful to see in one image (MAX_PIXELS), and together no more than the model's context holds
    beside words and an answer of `max_tokens`; but never less than the model's processor would enlarge them to
    (MIN_PIXELS), so that very many images do not fit.
    """
    tokens = max(0, max_model_len - max_tokens - _WORDS_TOKENS)
    return max(MIN_PIXELS, min(MAX_PIXELS, tokens * PIXELS_PER_TOKEN // max(1, count)))


def image_tokens(width: int, height: int) -> int:
    """How many tokens an image costs: one for each 32 x 32 pixels of what the model's processor makes of it.

    That is transformers' `smart_resize` (models/qwen2_vl/image_processing_qwen2_vl.py) with Qwen3-VL's own limits.
    """
    least, most = _SEEN_PIXELS
    wide, high = (round(side / SIDE) * SIDE for side in (width, height))
    if wide * high > most:
        scale = math.sqrt(width * height / most)
        wide, high = (max(SIDE, math.floor(side / scale / SIDE) * SIDE) for side in (width, height))
    elif wide * high < least:
        scale = math.sqrt(least / (width * height))
        wide, high = (math.ceil(side * scale / SIDE) * SIDE for side in (width, height))
    return wide * high // PIXELS_PER_TOKEN
