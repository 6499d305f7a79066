"""Jobs that only end once as many as they say have run at the same time; says where they have begun and ended."""

import asyncio
import os
import time
from importlib import metadata
from pathlib import Path

import runpod

running, most = set(), [0]
changed = asyncio.Condition()


async def handler(job):
    given = job["input"]
    if "fail" in given:
        raise ValueError(given["fail"])
    if "object" in given:
        return {"answer": object()}
    if "block" in given:
        time.sleep(given["block"])  # noqa: ASYNC251  (a handler that blocks its loop)
    try:
        async with changed:
            running.add(job["id"])
            most[0] = max(most[0], len(running))
            changed.notify_all()
            await asyncio.to_thread(tell, given, "started")
            await changed.wait_for(lambda: most[0] >= given.get("together", 1))
        return {"pid": os.getpid(), "version": metadata.version("runpod")}
    except asyncio.CancelledError:
        tell(given, "cancelled")
        raise
    finally:
        running.discard(job["id"])


def tell(given, what):
    if what in given:
        with Path(given[what]).open("a") as file:
            file.write(f"{os.getpid()}\n")


if __name__ == "__main__":
    runpod.serverless.start(
        {"handler": handler, "concurrency_modifier": lambda _current: int(os.environ.get("CONCURRENCY", "50"))}
    )
