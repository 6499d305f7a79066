"""Jobs that only end when as many as they say run at the same time."""

import asyncio
import os

import runpod

running = 0


async def handler(job):
    global running
    running += 1
    try:
        if "started" in job["input"]:
            open(job["input"]["started"], "a").write(f"{os.getpid()}\n")
        while running < job["input"].get("together", 1):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        return {"together": running, "pid": os.getpid()}
    finally:
        running -= 1


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: 50})
