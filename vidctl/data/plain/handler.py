"""The worker: RunPod calls `handler` with each job, and what it returns is the job's output."""

import runpod


def handler(job):
    name = job["input"].get("name")
    if not isinstance(name, str):
        return {"error": "name: expected text"}  # the job ends as FAILED, with this sentence
    return {"greeting": f"Hello, {name}!"}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
