"""Open what a request shows, on a thread of its own and for no longer than a request may take."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import media
from badinput import BadInputError

if TYPE_CHECKING:
    from environment import Settings
    from jobinput import Request
    from media import Prepared
    from server import Facts

LEAST_SIDE = 32  # of an image; processors of other models and servers refuse a smaller one


class MediaOpener:
    """Opens images and clips within the worker's limits; `knows_images`: what the model makes of one is known."""

    def __init__(self, facts: Facts, settings: Settings) -> None:
        self._facts = facts
        self._settings = settings
        # A thread for each job: one that waits for a slow server keeps nobody else waiting.
        self._threads = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="media")
        self.knows_images = not settings.server_url

    async def prepared(self, request: Request) -> Prepared:
        """The request's images, opened; what takes longer than a request may is given up."""
        limits = media.Limits(
            self._settings.max_images,
            min(request.max_pixels or self._settings.max_pixels, self._settings.max_pixels),
            self._facts.min_pixels,
            self._facts.max_pixels,
            0 if self.knows_images else LEAST_SIDE,
        )
        messages = request.body["messages"]
        if not media.has_any(messages):
            return media.Prepared(messages, ())
        stop = threading.Event()
        limit_s = self._settings.request_timeout_s or None
        opening = asyncio.get_running_loop().run_in_executor(
            self._threads, media.prepare, messages, limits, stop.is_set
        )
        try:
            return await asyncio.wait_for(opening, limit_s)
        except asyncio.TimeoutError:
            raise BadInputError(f"the images were not opened after {limit_s:g} s (REQUEST_TIMEOUT)") from None
        finally:
            stop.set()
