"""Yields what its input lists."""

import runpod


def handler(job):
    yield from job["input"]["values"]


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
