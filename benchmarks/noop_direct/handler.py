"""RunPod's worker protocol with nothing around it: takes up to fifty jobs at a time and gives them back.

The SDK's own loop sleeps between jobs; without it one sees what the runtime itself can carry.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp

WORKER = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", WORKER).replace("/job-take/", "/job-take-batch/")
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", WORKER)
PLACES = 50


async def main() -> None:
    headers = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
    running: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        while True:
            if len(running) == PLACES:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            async with session.get(f"{TAKE}&batch_size={PLACES - len(running)}") as answer:
                jobs = await answer.json() if answer.status == 200 else []
            for job in jobs:
                task = asyncio.create_task(give_back(session, job))
                running.add(task)
                task.add_done_callback(running.discard)


async def give_back(session: aiohttp.ClientSession, job: dict[str, Any]) -> None:
    async with session.post(DONE.replace("$ID", job["id"]), json={"output": job["input"]}) as answer:
        await answer.read()


if __name__ == "__main__":
    asyncio.run(main())
