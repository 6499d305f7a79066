"""A worker that gives back what it gets."""

import runpod


def handler(job: dict) -> dict:
    """Echo."""
    return {"echo": job["input"]}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
