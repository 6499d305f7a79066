"""Starts for $START_S seconds, and works on a job for as many as that says."""

import asyncio
import os
import time

import runpod


async def handler(job):
    await asyncio.sleep(job["input"]["execution_s"])
    return {"slept": True}


if __name__ == "__main__":
    time.sleep(float(os.environ["START_S"]))
    runpod.serverless.start({"handler": handler})
