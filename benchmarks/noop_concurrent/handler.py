"""The least a worker can do, fifty jobs at a time."""

from typing import Any

import runpod


async def handler(job: dict[str, Any]) -> Any:
    return job["input"]


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: 50})
