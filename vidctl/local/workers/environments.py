"""The virtual environment that a worker folder runs in: what its image's layers would hold.

It is made of the folder's requirements and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from vidctl.docker import worker_folder
from vidctl.local.workers import os_process
from vidctl.local.workers.installer import (
    Requirements,
    find_uv,
    installer_commands,
    installer_variables,
    reachable,
    read_requirements,
    steps,
)
from vidctl.local.workers.program import locked, run_to_end
from vidctl.local.workers.variables import activated, inheritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_UNUSED_S = 30 * 86_400

ENGINE = "engine"  # the folder in a worker's, with the requirements of what it cannot share an environment with


def cache_dir() -> Path:
    """Where environments and workers' downloads are kept: `$VIDCTL_CACHE_DIR`, else the user's cache."""
    return Path(os.environ.get("VIDCTL_CACHE_DIR") or platformdirs.user_cache_dir("vidctl")).absolute()


def cache_home(folder: Path) -> Path:
    """The `XDG_CACHE_HOME` of the workers of this folder: weights that they download stay there."""
    place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache_dir() / "workers" / f"{folder.resolve().name}-{place}"


def interpreter(folder: Path, env: Mapping[str, str], notify: Callable[[str], None]) -> Path:
    """Return the Python that runs this worker, making its environment first where needed.

    `env` is the endpoint's environment, which the folder's `prepare.py` sees when it is run, once.  `notify` gets one
    line per step of what takes long.  Raise LocalRuntimeError, with the last lines of the tool's output, when the
    environment cannot be made; nothing half-made is left.
    """
    python = _environment(folder, notify)
    _prepare(folder, python, {**env, **engine(folder, env, notify)}, notify)
    return python


def engine(folder: Path, env: Mapping[str, str], notify: Callable[[str], None]) -> dict[str, str]:
    """Return the variable that tells a worker of its engine: `ENGINE_PYTHON`, of an environment made where needed.

    An engine that cannot live in one environment with RunPod's SDK has its requirements in the folder `engine/`.  They
    are complete, a freeze, and are installed as they stand: what it says it needs beside them is left out.  There is
    no such variable for a worker without an engine, and none where `OPENAI_BASE_URL` names a server that runs already,
    or `ENGINE_PYTHON` an engine of the user's own.
    Raise LocalRuntimeError as `interpreter` does.
    """
    home = folder / ENGINE
    if env.get("OPENAI_BASE_URL") or env.get("ENGINE_PYTHON") or not worker_folder.requirements(home):
        return {}
    return {"ENGINE_PYTHON": str(_environment(home, notify, is_frozen=True))}


def _environment(folder: Path, notify: Callable[[str], None], *, is_frozen: bool = False) -> Path:
    """Return the interpreter of the folder's environment: our own when the folder requires nothing.

    Requirements that are frozen are installed without asking any package what it needs.
    """
    path = worker_folder.requirements(folder)
    if path is None:
        return Path(sys.executable)
    requirements = read_requirements(path, is_frozen=is_frozen)
    home = cache_dir() / "environments" / _environment_hash(requirements)
    python = home / "bin" / "python"
    stamp = home / "complete"  # its time is when the environment was last used
    if _is_complete(home) and not _is_unused(stamp):
        os.utime(stamp)
        return python
    with locked(home.with_suffix(".lock"), f"the environment of {_display_name(folder)}", notify) as lock:
        if not _is_complete(home):
            _make(home, folder, requirements, lock, notify)
        os.utime(stamp)
    _prune(home.parent, notify)
    return python


def _environment_hash(requirements: Requirements) -> str:
    """Hash what decides what is installed: the requirements, this Python, this platform."""
    python = (platform.python_implementation(), platform.python_version(), sysconfig.get_platform())
    # Without the flag where it is false, so that environments made before there was one are found.
    what = requirements if requirements.is_frozen else requirements[:2]
    return hashlib.sha256(json.dumps([what, python]).encode()).hexdigest()[:16]


def _is_complete(home: Path) -> bool:
    # The interpreter is a link to the one it was made with, which an upgrade of Python may have taken away.
    return (home / "complete").is_file() and (home / "bin" / "python").exists()


def _make(home: Path, folder: Path, requirements: Requirements, lock: int, notify: Callable[[str], None]) -> None:
    """Make the environment in place, for its scripts hold its path; the stamp that completes it comes last."""
    shutil.rmtree(home, ignore_errors=True)
    uv = find_uv()
    log = home.with_suffix(".log")
    log.unlink(missing_ok=True)
    notify(f"creating an environment for {_display_name(folder)} with {'uv' if uv else 'pip'}")
    try:
        home.mkdir(parents=True)
        _write(home / "requirements.txt", reachable(requirements.wanted, notify))
        _write(home / "constraints.txt", requirements.constraints)
        for command in installer_commands(uv, home, is_frozen=requirements.is_frozen):
            what = f"the environment of {_display_name(folder)}"
            run_to_end(
                command, what=what, cwd=folder, env=installer_variables(), log=log, lock=lock, notify=steps(notify)
            )
        (home / "complete").touch()
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    notify(f"created the environment of {_display_name(folder)}")


def _display_name(folder: Path) -> str:
    return f"{folder.parent.name}'s engine" if folder.name == ENGINE else folder.name


def _prune(environments: Path, notify: Callable[[str], None]) -> None:
    """Remove environments that no worker was started in for a month, nor runs in: each may take gigabytes."""
    unused = [stamp for stamp in environments.glob("*/complete") if _is_unused(stamp)]
    running = os_process.commands() if unused else ""
    for stamp in unused:
        home = stamp.parent
        with locked(home.with_suffix(".lock"), f"the unused environment {home.name}", notify):
            if str(home) not in running and _is_unused(stamp):
                stamp.unlink()
                shutil.rmtree(home, ignore_errors=True)
                home.with_suffix(".log").unlink(missing_ok=True)
                notify(f"removed the environment {home.name}, not used for {_UNUSED_S // 86_400} days")


def _is_unused(stamp: Path) -> bool:
    return stamp.is_file() and time.time() - stamp.stat().st_mtime > _UNUSED_S


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _prepare(folder: Path, python: Path, env: Mapping[str, str], notify: Callable[[str], None]) -> None:
    """Run the folder's `prepare.py`, if it has one, once for this interpreter and this environment."""
    script = folder / "prepare.py"
    if not script.is_file():
        return
    home = cache_home(folder)
    stamp = home / f".prepared-{_prepared_hash(script, python, env)}"
    if stamp.is_file():
        return
    with locked(home.with_suffix(".lock"), f"{folder.name} to be prepared", notify) as lock:
        if stamp.is_file():
            return
        home.mkdir(parents=True, exist_ok=True)
        notify(f"preparing {folder.name}")
        log = home.with_suffix(".log")
        log.unlink(missing_ok=True)
        # Libraries leave their settings in HOME; the user's own is none of a worker's business.
        scratch = home / "home"
        scratch.mkdir(exist_ok=True)
        own = {"XDG_CACHE_HOME": str(home), "HOME": str(scratch), "PYTHONUNBUFFERED": "1"}
        run_to_end(
            [str(python), "prepare.py"],
            what=f"prepare.py of {folder.name}",
            cwd=folder,
            env={**inheritable(os.environ), **activated(python), **own, **env},
            log=log,
            lock=lock,
            notify=notify,
        )
        stamp.touch()


def _prepared_hash(script: Path, python: Path, env: Mapping[str, str]) -> str:
    state = [script.read_text(encoding="utf-8", errors="surrogateescape"), str(python), sorted(env.items())]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
