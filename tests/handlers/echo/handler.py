"""Answers with what it was asked."""

import runpod


def handler(job):
    return {"echo": job["input"], "greeting": "hello"}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
