"""The pieces of an answer on their way to RunPod's stream."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from typing import Any

from runpod import http_client
from runpod.serverless.modules import rp_http

log = logging.getLogger("qwen-vl")

HEARS_STREAM = "RUNPOD_WEBHOOK_POST_STREAM"  # by hand there is none, and each chunk would log an error
LAST_POSTS_S = 15.0  # for the end of a stream


def hears_stream() -> bool:
    """Whether there is somebody to post to."""
    return HEARS_STREAM in os.environ


class Posted:
    """Posts the pieces of an answer to RunPod's stream, in their order.

    While a post is under way the pieces that come are gathered, and go together with the next one: on a slow way to
    RunPod the chunks grow, and nothing waits.  The SDK itself posts only what a generator yields, and the output of a
    generator is a list, which the guide's contract is not; so this calls what the SDK calls (runpod-python 1.12,
    serverless/modules/rp_job.py, `handle_job`).
    """

    def __init__(self, job: dict[str, Any], *, as_text: bool = False) -> None:
        self._job = job
        self._as_text = as_text
        self._pieces: list[str] = []
        self._index = 0
        self._more = asyncio.Event()
        self._is_over = False
        self._task = asyncio.ensure_future(self._post_all())

    def put(self, piece: str) -> None:
        self._pieces.append(piece)
        self._more.set()

    async def end(self, last: dict[str, Any] | None) -> None:
        """Wait until everything was posted, then post `last`; not for long, for the answer itself is whole."""
        self._is_over = True
        self._more.set()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._post_rest(last), LAST_POSTS_S)

    async def _post_rest(self, last: dict[str, Any] | None) -> None:
        await self._task
        if last is not None:
            await self._post({"text": "", "index": self._index, **last})

    def drop(self) -> None:
        """Post no more: the job is over, or was cancelled."""
        self._task.cancel()

    async def _post_all(self) -> None:
        while not (self._is_over and not self._pieces):
            await self._more.wait()
            self._more.clear()
            pieces, self._pieces = self._pieces, []
            if pieces:
                text = "".join(pieces)
                await self._post(text if self._as_text else {"text": text, "index": self._index})
                self._index += 1

    async def _post(self, chunk: Any) -> None:
        """A chunk that cannot be posted is missing in the stream, and there in the answer."""
        try:
            await rp_http.stream_result(_posting(), {"output": chunk}, self._job)
        except (asyncio.TimeoutError, OSError, ValueError) as error:  # the SDK lets through what is not aiohttp's
            log.warning("job %s: a chunk was not posted: %s", self._job.get("id"), type(error).__name__)


_session: list[Any] = []


def _posting() -> Any:
    """One session for all chunks, of the event loop that the SDK runs."""
    if not _session:
        _session.append(http_client.AsyncClientSession())
    return _session[0]


def utf8(text: str) -> str:
    """Without halves of characters, which JSON can spell and the SDK cannot post."""
    return text.encode("utf-8", "replace").decode("utf-8")
