"""A plain handler that does what its input says."""

import os
import signal
import time

import runpod


def handler(job):
    given = job["input"]
    match given.get("do", "echo"):
        case "echo":
            return {"echo": given, "worker": os.environ["RUNPOD_POD_ID"]}
        case "environment":
            return {"environment": dict(os.environ), "cwd": os.getcwd()}
        case "return":
            return given["value"]
        case "raise":
            raise ValueError("no such luck")
        case "not json":
            return {"answer": object()}
        case "nan":
            return float("nan")
        case "big":
            return "x" * given["bytes"]
        case "progress":
            runpod.serverless.progress_update(job, {"percent": 50})
            wait_for(given["until"])
            return "done"
        case "wait":
            open(given["started"], "a").write(f"{os.getpid()}\n")
            wait_for(given["until"])
            return {"pid": os.getpid()}
        case "die":
            open(given["started"], "a").write(f"{os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        case "refresh":
            return {"pid": os.getpid(), "refresh_worker": True}
        case "print":
            for _ in range(given["lines"]):
                print("x" * 1023)
            return "printed"


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
