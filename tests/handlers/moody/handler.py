"""Answers with what it was asked, not while $MOOD/hold is there, and fails while $MOOD/broken is."""

import asyncio
import os

import runpod


async def handler(job):
    while os.path.exists(os.path.join(os.environ["MOOD"], "hold")):
        await asyncio.sleep(0.05)
    if os.path.exists(os.path.join(os.environ["MOOD"], "broken")):
        raise ValueError("the cable is out")
    return {"echo": job["input"]}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
