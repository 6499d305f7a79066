"""What a worker folder requires, and the commands of uv or pip that install it."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from vidctl.errors import LocalRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INCLUDE = re.compile(r"\s*(?:-r|--requirement)[\s=]+(?P<path>\S+)")
_CONSTRAINT = re.compile(r"\s*(?:-c|--constraint)[\s=]+(?P<path>\S+)")
_EXTRA_INDEX = re.compile(r"\s*--extra-index-url[\s=]+(?P<url>\S+)")
_SIZE = re.compile(r"\((\d+(?:\.\d+)?) ?([kKMG])i?B\)")
_MEGABYTES = {"k": 1e-3, "K": 1e-3, "M": 1.0, "G": 1e3}
_MIN_SHOWN_MB = 5.0
_WHEEL = re.compile(r"^(?:\S*/)?([^-/\s]+)-([^-/\s]+)(?:-\S+\.whl|\.tar\.gz|\.zip)")
_INDEX_TIMEOUT_S = 3.0


class Requirements(NamedTuple):
    """The lines of a requirements file, and those of the constraint files that it names."""

    wanted: tuple[str, ...]
    constraints: tuple[str, ...]
    is_frozen: bool = False


def read_requirements(path: Path, *, is_frozen: bool = False) -> Requirements:
    """Read a requirements file and all that it includes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalRuntimeError(f"cannot read {path}: {error}") from error
    wanted: list[str] = []
    constraints: list[str] = []
    for line in lines:
        if include := _INCLUDE.match(line):
            included = read_requirements(path.parent / include["path"])
            wanted += included.wanted
            constraints += included.constraints
        elif constraint := _CONSTRAINT.match(line):
            constraints += read_requirements(path.parent / constraint["path"]).wanted
        else:
            wanted.append(line)
    return Requirements(tuple(wanted), tuple(constraints), is_frozen)


def find_uv() -> str | None:
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


def installer_commands(uv: str | None, home: Path, *, is_frozen: bool) -> tuple[list[str], list[str]]:
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


def reachable(lines: tuple[str, ...], notify: Callable[[str], None]) -> Iterator[str]:
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


def steps(notify: Callable[[str], None]) -> Callable[[str], None]:
    """Pass on the lines of an installer's output that report progress, in short."""

    def on_line(line: str) -> None:
        if (words := step(line)) is not None:
            notify(words)

    return on_line


def step(line: str) -> str | None:
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


def installer_variables() -> dict[str, str]:
    """What an installer gets: all, for an index may want the user's keys, but what leads to our packages and RunPod.

    uv is set to trust whom the system trusts, as pip does: behind a company's proxy its own list is not enough.
    """
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RUNPOD_", "VIDCTL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {"UV_SYSTEM_CERTS": "true", **kept}
