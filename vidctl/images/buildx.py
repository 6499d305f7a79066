"""Build with BuildKit through `docker buildx`: docker-py speaks to the classic builder only (docker/docker-py#2230)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidctl.errors import ImageError
from vidctl.images.context import PLATFORM
from vidctl.images.log import ImageLog
from vidctl.images.streams import build_failed
from vidctl.progress import Notify, Progress


@dataclass(frozen=True)
class Order:
    """What to build, beside the files."""

    key: str
    dockerfile: str
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    use_cache: bool
    target: str | None = None


_STEP = re.compile(r"#\d+ \[(?:[\w.-]+ )?(\d+)/(\d+)\] (.*)")
_FAILED_STEP = re.compile(r" > \[(?:[\w.-]+ )?(\d+/\d+)\] (.*):$")


def is_there(environ: Mapping[str, str]) -> bool:
    """Whether `docker buildx` can be run."""
    return version(environ) is not None


def version(environ: Mapping[str, str]) -> str | None:
    """What `docker buildx` says of itself, None where it cannot be run."""
    program = shutil.which("docker", path=environ.get("PATH"))
    if program is None:
        return None
    done = subprocess.run([program, "buildx", "version"], env=dict(environ), capture_output=True, check=False)
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def build(tar: Iterator[bytes], order: Order, *, environ: Mapping[str, str], notify: Notify, log: ImageLog) -> str:
    """Build and load into the engine; return the image's id; raise ImageError with the step that failed."""
    with tempfile.TemporaryDirectory() as scratch:
        id_file = Path(scratch, "id")
        program = shutil.which("docker", path=environ.get("PATH")) or "docker"
        process = subprocess.Popen(
            [program, *_arguments(order, id_file)],
            # `--build-arg NAME` takes the value from here: a process list is everybody's to read.
            env={**environ, **order.build_args},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            step = _follow(process, tar, order.key, notify, log)
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0 or not id_file.is_file():
            errors = [line for line in log.last if line.startswith("ERROR")] or [*log.last] or ["docker buildx failed"]
            raise build_failed(order.key, step, errors[-1], log)
        return id_file.read_text().strip()


def _arguments(order: Order, id_file: Path) -> list[str]:
    pairs = [("--build-arg", name) for name in order.build_args]
    pairs += [("--label", f"{name}={value}") for name, value in order.labels.items()]
    words = ["buildx", "build", "--load", "--platform", PLATFORM, "--progress", "plain", "--iidfile", str(id_file)]
    words += [] if order.use_cache else ["--no-cache"]
    words += ["--target", order.target] if order.target else []
    return [*words, *(word for pair in pairs for word in pair), "--file", order.dockerfile, "-"]


def _follow(process: subprocess.Popen[bytes], tar: Iterator[bytes], key: str, notify: Notify, log: ImageLog) -> str:
    """Send the files and tell the steps; return the one that failed; raise ImageError for a file that changed."""
    failures: list[ImageError] = []
    sender = threading.Thread(target=_send, args=(process, tar, failures), daemon=True)
    sender.start()
    failed, number, total = "", 0, 0
    assert process.stderr is not None
    for raw in process.stderr:
        for text in log.write(raw.decode(errors="replace")):
            if found := _STEP.match(text):
                number, total = int(found[1]), int(found[2])
                notify(Progress("build", f"{number}/{total} {found[3]}", number - 1, total, key=key))
            elif found := _FAILED_STEP.match(text):
                failed = f"Step {found[1]} : {found[2]}"
            elif text.strip():
                notify(Progress("build", text.strip(), number, total, key=key, is_passing=True))
    sender.join()
    if failures:
        raise failures[0]
    return failed


def _send(process: subprocess.Popen[bytes], tar: Iterator[bytes], failures: list[ImageError]) -> None:
    assert process.stdin is not None
    try:
        with process.stdin as pipe:
            for chunk in tar:
                pipe.write(chunk)
    except ImageError as error:
        failures.append(error)
        process.kill()
    except OSError:
        pass  # it has ended, and says why itself
