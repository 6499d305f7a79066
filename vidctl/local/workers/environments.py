"""Worker folders as images, and the virtual environment that each of them runs in.

The local runtime runs a worker's handler from its folder.  What RunPod calls an image is then a reference to that
folder with a hash of its content; what the image's layers would hold is a virtual environment made of the folder's
requirements and kept in the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

import platformdirs

from vidctl.docker import worker_folder
from vidctl.docker.ignore import Ignore
from vidctl.errors import ImageError, LocalRuntimeError
from vidctl.local.workers import os_process
from vidctl.local.workers.variables import inheritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vidctl.docker.ignore import Above

_HANDLER = Path("handler.py")
_NOT_CONTENT = re.compile(r"__pycache__|\.git|\.venv|\.cache|\..*_cache")
_INCLUDE = re.compile(r"\s*(?:-r|--requirement)[\s=]+(?P<path>\S+)")
_CONSTRAINT = re.compile(r"\s*(?:-c|--constraint)[\s=]+(?P<path>\S+)")
_EXTRA_INDEX = re.compile(r"\s*--extra-index-url[\s=]+(?P<url>\S+)")
_SIZE = re.compile(r"\((\d+(?:\.\d+)?) ?([kKMG])i?B\)")
_MEGABYTES = {"k": 1e-3, "K": 1e-3, "M": 1.0, "G": 1e3}
_MIN_SHOWN_MB = 5.0
_WHEEL = re.compile(r"^(?:\S*/)?([^-/\s]+)-([^-/\s]+)(?:-\S+\.whl|\.tar\.gz|\.zip)")
_INDEX_TIMEOUT_S = 3.0
_LAST_LINES = 20
_UNUSED_S = 30 * 86_400

ENGINE = "engine"  # the folder in a worker's, with the requirements of what it cannot share an environment with


class _Requirements(NamedTuple):
    """The lines of a requirements file, and those of the constraint files that it names."""

    wanted: tuple[str, ...]
    constraints: tuple[str, ...]
    is_frozen: bool = False


def cache_dir() -> Path:
    """Where environments and workers' downloads are kept: `$VIDCTL_CACHE_DIR`, else the user's cache."""
    return Path(os.environ.get("VIDCTL_CACHE_DIR") or platformdirs.user_cache_dir("vidctl")).absolute()


def cache_home(folder: Path) -> Path:
    """The `XDG_CACHE_HOME` of the workers of this folder: weights that they download stay there."""
    place = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache_dir() / "workers" / f"{folder.resolve().name}-{place}"


def image_name(folder: Path, handler: Path | None = None) -> str:
    """Name a worker folder by its content: `file:///abs/folder?sha256=<16 hex>`.

    What is run of it, from the folder, is in there where it is not `handler.py`: `&handler=src/rp_handler.py`.

    Paths, bytes and the executable bit count; times, Python's and other tools' caches do not.  Raise
    LocalRuntimeError when the folder cannot be read or has no handler.
    """
    folder = folder.resolve()
    handler = handler or worker_folder.handler(folder)
    if handler is None or not (folder / handler).is_file():
        raise LocalRuntimeError(
            f"{handler or 'handler.py'} not found in {folder}",
            hint="name the file that starts RunPod's worker loop: local: {handler: src/start.py}; or run its image: "
            "local: {isolation: container}",
        )
    content = hashlib.sha256()
    try:
        for path in _content_files(folder):
            content.update(json.dumps([path.relative_to(folder).as_posix(), os.access(path, os.X_OK)]).encode())
            content.update(_file_digest(path))
    except OSError as error:
        raise LocalRuntimeError(f"cannot read {folder}: {error}") from error
    named = "" if handler == _HANDLER else f"&handler={quote(handler.as_posix())}"
    return f"{folder.as_uri()}?sha256={content.hexdigest()[:16]}{named}"


def _content_files(folder: Path) -> Iterator[Path]:
    """The files that make a worker what it is, in an order that does not depend on the file system."""
    for path in sorted(folder.iterdir()):
        if _NOT_CONTENT.fullmatch(path.name) or path.suffix == ".pyc":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _content_files(path)
        elif path.is_file():
            yield path


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def copy_source(folder: Path, to: Path, handler: Path = _HANDLER) -> None:
    """Give a worker a working directory of its own: what its image would hold is copied.

    `weights/` and what `.dockerignore` leaves out may be large, so that those files are links to the folder's own: a
    handler must not write into them, and nothing but its good manners keeps it from that.  Of other tools' folders,
    such as `.venv`, and of links to folders there is one link each; Python's caches are left behind.
    Raise LocalRuntimeError for a pattern that is none.
    """
    patterns = next((path for path in _ignore_files(folder) if path.is_file()), None)
    text = "" if patterns is None else patterns.read_text(encoding="utf-8-sig", errors="surrogateescape")
    try:
        ignored = Ignore(text, where=str(patterns), kept=(handler.as_posix(),))
    except ImageError as error:
        raise LocalRuntimeError(str(error), hint=error.hint) from error
    to.mkdir(parents=True)
    _copy_into(folder, to, "", ignored, ())


def _ignore_files(folder: Path) -> tuple[Path, Path]:
    return folder / "Dockerfile.dockerignore", folder / ".dockerignore"


def _copy_into(source: Path, to: Path, inside: str, ignored: Ignore, above: Above) -> None:
    for path in sorted(source.iterdir()):
        name, target = inside + path.name, to / path.name
        if path.name == "__pycache__" or path.suffix == ".pyc":
            continue
        is_linked, matches = ignored.excludes(name, above)
        if _NOT_CONTENT.fullmatch(path.name) or (path.is_dir() and path.is_symlink()):
            target.symlink_to(path.resolve())
        elif path.is_dir():
            target.mkdir()
            _copy_into(path, target, f"{name}/", ignored, matches)
        elif path.is_file() and (is_linked or name.startswith("weights/")):
            target.symlink_to(path.resolve())
        elif path.is_file():
            shutil.copy2(path, target)


def activated(python: Path) -> dict[str, str]:
    """The variables by which the programs of an interpreter's environment are found, before any other's."""
    bin_dir = python.parent
    is_virtual = (bin_dir.parent / "pyvenv.cfg").is_file()
    path = os.pathsep.join((str(bin_dir), os.environ.get("PATH") or os.defpath))
    return {"PATH": path, **({"VIRTUAL_ENV": str(bin_dir.parent)} if is_virtual else {})}


def is_folder(image_name: str) -> bool:
    """Whether an image name means a worker folder, be it a right one or not."""
    return image_name.startswith("file:")


def folder(image_name: str) -> Path:
    """Find the worker folder that an image name stands for.

    Raise LocalRuntimeError when the name is not one of a worker folder, or the folder is gone.
    """
    try:
        parts = urlsplit(image_name)
        is_one = parts.scheme == "file" and not parts.netloc and bool(parse_qs(parts.query).get("sha256"))
        path = Path(unquote(parts.path))
        is_there = is_one and (path / handler(image_name)).is_file()
    except (OSError, ValueError):  # brackets that are no address, a path that no file can have
        is_one = False
    if not is_one:
        raise LocalRuntimeError(
            f"the local runtime cannot run the image {image_name}: it does not name a worker folder",
            hint="deploy a spec with `image: {build: <a worker's folder>}`",
        )
    if not is_there:
        raise LocalRuntimeError(f"worker folder {path} not found", hint="redeploy it from its current folder")
    return path


def handler(image_name: str) -> Path:
    """What is run of the worker folder that an image name stands for, from the folder."""
    named = parse_qs(urlsplit(image_name).query).get("handler")
    return Path(named[0]) if named else _HANDLER


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
    requirements = _read(path, is_frozen=is_frozen)
    home = cache_dir() / "environments" / _environment_hash(requirements)
    python = home / "bin" / "python"
    stamp = home / "complete"  # its time is when the environment was last used
    if _is_complete(home) and not _is_unused(stamp):
        os.utime(stamp)
        return python
    with _locked(home.with_suffix(".lock"), f"the environment of {_display_name(folder)}", notify) as lock:
        if not _is_complete(home):
            _make(home, folder, requirements, lock, notify)
        os.utime(stamp)
    _prune(home.parent, notify)
    return python


def _read(path: Path, *, is_frozen: bool = False) -> _Requirements:
    """Read a requirements file and all that it includes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalRuntimeError(f"cannot read {path}: {error}") from error
    wanted: list[str] = []
    constraints: list[str] = []
    for line in lines:
        if include := _INCLUDE.match(line):
            included = _read(path.parent / include["path"])
            wanted += included.wanted
            constraints += included.constraints
        elif constraint := _CONSTRAINT.match(line):
            constraints += _read(path.parent / constraint["path"]).wanted
        else:
            wanted.append(line)
    return _Requirements(tuple(wanted), tuple(constraints), is_frozen)


def _environment_hash(requirements: _Requirements) -> str:
    """Hash what decides what is installed: the requirements, this Python, this platform."""
    python = (platform.python_implementation(), platform.python_version(), sysconfig.get_platform())
    # Without the flag where it is false, so that environments made before there was one are found.
    what = requirements if requirements.is_frozen else requirements[:2]
    return hashlib.sha256(json.dumps([what, python]).encode()).hexdigest()[:16]


def _is_complete(home: Path) -> bool:
    # The interpreter is a link to the one it was made with, which an upgrade of Python may have taken away.
    return (home / "complete").is_file() and (home / "bin" / "python").exists()


def _make(home: Path, folder: Path, requirements: _Requirements, lock: int, notify: Callable[[str], None]) -> None:
    """Make the environment in place, for its scripts hold its path; the stamp that completes it comes last."""
    shutil.rmtree(home, ignore_errors=True)
    uv = _uv()
    log = home.with_suffix(".log")
    log.unlink(missing_ok=True)
    notify(f"creating an environment for {_display_name(folder)} with {'uv' if uv else 'pip'}")
    try:
        home.mkdir(parents=True)
        _write(home / "requirements.txt", _reachable(requirements.wanted, notify))
        _write(home / "constraints.txt", requirements.constraints)
        for command in _commands(uv, home, is_frozen=requirements.is_frozen):
            what = f"the environment of {_display_name(folder)}"
            _run(
                command, what=what, cwd=folder, env=_installer_environment(), log=log, lock=lock, notify=_steps(notify)
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
        with _locked(home.with_suffix(".lock"), f"the unused environment {home.name}", notify):
            if str(home) not in running and _is_unused(stamp):
                stamp.unlink()
                shutil.rmtree(home, ignore_errors=True)
                home.with_suffix(".log").unlink(missing_ok=True)
                notify(f"removed the environment {home.name}, not used for {_UNUSED_S // 86_400} days")


def _is_unused(stamp: Path) -> bool:
    return stamp.is_file() and time.time() - stamp.stat().st_mtime > _UNUSED_S


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _uv() -> str | None:
    """Find uv, or None when pip is to be used: `$VIDCTL_INSTALLER` decides, else whether uv is installed."""
    installer = os.environ.get("VIDCTL_INSTALLER", "")
    uv = shutil.which("uv")
    if installer not in ("", "pip", "uv"):
        raise LocalRuntimeError(
            f"invalid VIDCTL_INSTALLER {installer!r}: expected pip or uv", hint="set it to pip or uv, or unset it"
        )
    if installer == "uv" and uv is None:
        raise LocalRuntimeError("VIDCTL_INSTALLER is uv: uv not found on the PATH", hint="install it: pip install uv")
    return None if installer == "pip" else uv


def _commands(uv: str | None, home: Path, *, is_frozen: bool) -> tuple[list[str], list[str]]:
    """The two commands that make an environment at `home` and install into it what its two files say."""
    python = str(home / "bin" / "python")
    what = ["-r", str(home / "requirements.txt"), "-c", str(home / "constraints.txt")]
    what += ["--no-deps"] if is_frozen else []
    if uv is None:
        install = ["-m", "pip", "install", "--progress-bar", "off", "--no-input", "--disable-pip-version-check"]
        return [sys.executable, "-m", "venv", str(home)], [python, *install, *what]
    # By default uv takes a package from the first index that has it: an index of CPU builds would hide PyPI's releases.
    install = ["pip", "install", "--python", python, "--index-strategy", "unsafe-best-match"]
    return [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(home)], [uv, *install, *what]


def _reachable(lines: tuple[str, ...], notify: Callable[[str], None]) -> Iterator[str]:
    """Leave out extra indexes that cannot be reached: pip would retry each of them for every package."""
    for line in lines:
        index = _EXTRA_INDEX.match(line)
        if index is None or _answers(index["url"]):
            yield line
        else:
            notify(f"skipping the package index {index['url']}: unreachable")


def _answers(url: str) -> bool:
    """Whether anything answers there, through the proxies of the environment if there are any."""
    if urlsplit(url).scheme not in ("http", "https"):
        return True
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_INDEX_TIMEOUT_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # pip may trust a certificate that we do not know of.
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):
        return False
    return True


def _steps(notify: Callable[[str], None]) -> Callable[[str], None]:
    """Pass on the lines of an installer's output that report progress, in short."""

    def on_line(line: str) -> None:
        step = _step(line)
        if step is not None:
            notify(step)

    return on_line


def _step(line: str) -> str | None:
    """Say in a few words what this line of pip or uv reports, if it is worth a person's time."""
    verb, _, rest = line.strip().partition(" ")
    if verb == "Installing" and rest.startswith("collected packages:"):
        count = rest.count(",") + 1
        return f"installing {count} package{'s' if count > 1 else ''}"
    if verb in ("Resolved", "Prepared", "Installed"):
        return f"{verb.lower()} {rest}"
    if verb == "Downloading" and (size := _SIZE.search(rest)) and float(size[1]) * _MEGABYTES[size[2]] >= _MIN_SHOWN_MB:
        return "downloading " + _WHEEL.sub(r"\1 \2", rest)
    return None


def _prepare(folder: Path, python: Path, env: Mapping[str, str], notify: Callable[[str], None]) -> None:
    """Run the folder's `prepare.py`, if it has one, once for this interpreter and this environment."""
    script = folder / "prepare.py"
    if not script.is_file():
        return
    home = cache_home(folder)
    stamp = home / f".prepared-{_prepared_hash(script, python, env)}"
    if stamp.is_file():
        return
    with _locked(home.with_suffix(".lock"), f"{folder.name} to be prepared", notify) as lock:
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
        _run(
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


@contextmanager
def _locked(path: Path, what: str, notify: Callable[[str], None]) -> Iterator[int]:
    """Hold a lock between processes; say so before waiting for whoever has it.

    What it gives is the lock's descriptor: a child that inherits it holds the lock too, should we be killed meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify(f"waiting for {what}: another process is working on it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        # A process that prepare.py left behind may have the descriptor still: closing ours alone would not do.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _run(
    command: list[str],
    *,
    what: str,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    lock: int,
    notify: Callable[[str], None],
) -> None:
    """Run it to its end, its output to the log and line by line to `notify`; raise LocalRuntimeError on failure."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with _appended(log) as record, _child(command, cwd, env, lock) as process:
        for line in process.stdout or ():
            record.write(line)
            if line.strip():
                last.append(line.rstrip())
                notify(line.rstrip())
    if process.returncode != 0:
        raise LocalRuntimeError(
            f"{what} failed: {Path(command[0]).name} exited with status {process.returncode}\n" + "\n".join(last),
            hint=f"see the whole output in {log}",
        )


def _appended(log: Path) -> TextIO:
    """Open a log for lines that are there at once, for the user alone: indexes' passwords may be in it."""
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", buffering=1, encoding="utf-8")


@contextmanager
def _child(command: list[str], cwd: Path, env: Mapping[str, str], lock: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is over when the block is: by itself, or killed when the block fails."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=(lock,),
    )
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _installer_environment() -> dict[str, str]:
    """What an installer gets: all, for an index may want the user's keys, but what leads to our packages and RunPod.

    uv is set to trust whom the system trusts, as pip does: behind a company's proxy its own list is not enough.
    """
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RUNPOD_", "VIDCTL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {"UV_SYSTEM_CERTS": "true", **kept}
