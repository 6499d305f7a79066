"""Yields what its input lists, without blocking."""

import asyncio

import runpod


async def handler(job):
    for value in job["input"].get("values", [job["input"].get("openai_route")]):
        await asyncio.sleep(0)
        yield value


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
