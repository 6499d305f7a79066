"""A plain handler that does what its input says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import runpod


def echo(job, given):
    return {"echo": given, "worker": os.environ["RUNPOD_POD_ID"]}


def environment(job, given):
    return {"environment": dict(os.environ), "cwd": str(Path.cwd())}


def give(job, given):
    return given["value"]


def fail(job, given):
    raise ValueError("no such luck")


def give_an_object(job, given):
    return {"answer": object()}


def give_nan(job, given):
    return float("nan")


def give_much(job, given):
    return "x" * given["bytes"]


def progress(job, given):
    runpod.serverless.progress_update(job, {"percent": 50})
    wait_for(given["until"])
    return "done"


def progress_nan(job, given):
    runpod.serverless.progress_update(job, {"loss": float("nan")})
    wait_for(given["until"])
    return "done"


def progress_object(job, given):
    runpod.serverless.progress_update(job, {"at": object()})
    return "done"


def wait(job, given):
    tell(given["started"])
    wait_for(given["until"])
    return {"pid": os.getpid()}


def keep(job, given):
    """As handlers do with input.jpg, audio.wav or out.mp4."""
    Path("input.txt").write_text(given["who"])
    tell(given["started"])
    wait_for(given["until"])
    return {"kept": Path("input.txt").read_text(), "cwd": str(Path.cwd())}


def tell_path(job, given):
    tell(given["path"])


def exit_before_a_child(job, given):
    """Ends while a child holds the pipe of what the worker prints, as the SDK's heartbeat may."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    os._exit(3)


def die(job, given):
    tell(given["started"])
    os.kill(os.getpid(), signal.SIGKILL)


def refresh(job, given):
    return {"pid": os.getpid(), "refresh_worker": True}


def print_much(job, given):
    for _ in range(given["lines"]):
        sys.stdout.write("x" * 1023 + "\n")
    return "printed"


def tell(path):
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.02)


def handler(job):
    given = job["input"]
    return globals()[given.get("do", "echo")](job, given)


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
