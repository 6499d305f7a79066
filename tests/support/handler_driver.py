"""Runs inside a worker's own environment: `python handler_driver.py FOLDER`, with FOLDER the working folder.

Imports handler.py from FOLDER and builds its worker, then says {"ready": true}.  Reads JSON lines {"id", "input"} from
stdin, starts each job when it arrives, so that several run at once, and writes JSON lines {"id", "output"} as they end;
a line may hold several jobs as a list, which start together.  {"id", "cancel": true} cancels a job, as RunPod's
job-stop does: it is then answered {"id", "cancelled": true}.  Ends with stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, TextIO


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print must not mix with the answers
    sys.path.insert(0, sys.argv[1])
    import handler

    worker = handler.build()
    _say(answers, {"ready": True})
    asyncio.run(_serve(worker, answers))


async def _serve(worker: Any, answers: TextIO) -> None:
    running: dict[str, asyncio.Task[None]] = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        said = json.loads(line)
        for job in said if isinstance(said, list) else [said]:
            if job.get("cancel"):
                running[job["id"]].cancel()
            else:
                running[job["id"]] = asyncio.create_task(_answer(worker, job, answers))
    await asyncio.gather(*running.values())


async def _answer(worker: Any, job: dict[str, Any], answers: TextIO) -> None:
    try:
        _say(answers, {"id": job["id"], "output": await worker.answer(job)})
    except asyncio.CancelledError:
        _say(answers, {"id": job["id"], "cancelled": True})


def _say(answers: TextIO, value: Any) -> None:
    answers.write(json.dumps(value, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
