"""The least a worker can do, one job at a time."""

from typing import Any

import runpod


def handler(job: dict[str, Any]) -> Any:
    return job["input"]


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
