"""Where the project is, which RunPod to speak to and with which key.

Flags take precedence over the environment, then `.env`, then vidctl.yaml, then the defaults.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import re
import select
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vidctl import files
from vidctl.errors import AuthError, UsageError, VidctlError
from vidctl.project import configs

if TYPE_CHECKING:
    from dotenv.parser import Binding

Target = Literal["local", "runpod"]
ControlPlane = Literal["graphql", "rest"]

# The names that RunPod's own SDK reads (runpod-python: runpod/__init__.py, api/graphql.py), and its defaults.
API_BASE_URL = "https://api.runpod.io"
ENDPOINT_BASE_URL = "https://api.runpod.ai/v2"

PIPE_S = 10.0  # for whoever fills a `.env` that is a named pipe


@dataclass(frozen=True)
class Access:
    """The two base URLs and the key; `target` only chooses the name under which endpoint ids are remembered."""

    target: Target
    api_base_url: str
    endpoint_base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Project:
    """A folder with `configs/`, its `.env` and its `.vidctl/`; `environ` is the environment laid over `.env`."""

    root: Path
    environ: Mapping[str, str] = field(repr=False)

    @property
    def env_file(self) -> Path:
        return self.root / ".env"

    @property
    def has_settings(self) -> bool:
        """Whether it has a vidctl.yaml; reading it (`spec.settings_of`) takes longer than all else before a request."""
        return (self.root / "vidctl.yaml").exists()

    @property
    def journal_file(self) -> Path:
        return self.root / ".vidctl" / "journal.db"


def open_project(start: Path, environ: Mapping[str, str]) -> Project:
    """The project that holds `start`: the nearest folder upwards with `configs/`, else `start` itself."""
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / "configs").is_dir()), start)
    return Project(root, {**_dotenv(root / ".env", environ), **environ})


def choose_target(project: Project, flag: str | None, *, default: Target | None = None) -> tuple[Target, bool]:
    """The target, and whether it was chosen for want of a key: then it is worth a line to the user.

    `default` is what vidctl.yaml says.
    """
    wanted = flag or project.environ.get("VIDCTL_TARGET", default)
    if wanted is None:
        return ("runpod", False) if project.environ.get("RUNPOD_API_KEY") else ("local", True)
    if wanted not in ("local", "runpod"):
        raise UsageError(f"invalid target {wanted!r}", hint="use --target local or --target runpod")
    return ("local" if wanted == "local" else "runpod"), False


def control_plane(project: Project, from_file: ControlPlane | None) -> ControlPlane:
    """RunPod's control plane: VIDCTL_CONTROL's, else what vidctl.yaml says, else GraphQL; raise UsageError."""
    wanted = project.environ.get("VIDCTL_CONTROL", from_file or "graphql")
    if wanted not in ("graphql", "rest"):
        raise UsageError(f"invalid VIDCTL_CONTROL {wanted!r}", hint="set it to graphql or rest")
    return "rest" if wanted == "rest" else "graphql"


def runpod_access(project: Project) -> Access:
    """RunPod's URLs, or those that its SDK's variables name, and the key; raise AuthError without one."""
    api_key = project.environ.get("RUNPOD_API_KEY", "").strip()
    if not api_key:
        raise AuthError(
            "RUNPOD_API_KEY is not set",
            hint="set it in the environment or in .env, or use --target local, which needs no key",
        )
    # A key with other bytes in it cannot go in an HTTP header, and the library's error would show it.
    if not re.fullmatch(r"[!-~]+", api_key):
        raise AuthError("invalid RUNPOD_API_KEY: unexpected characters", hint="copy it again, without quotes or spaces")
    return Access(
        target="runpod",
        api_base_url=_base_url(project, "RUNPOD_API_BASE_URL", API_BASE_URL),
        endpoint_base_url=_base_url(project, "RUNPOD_ENDPOINT_BASE_URL", ENDPOINT_BASE_URL),
        api_key=api_key,
    )


def local_port(project: Project) -> int | None:
    """VIDCTL_LOCAL_PORT, None when it is not set."""
    word = project.environ.get("VIDCTL_LOCAL_PORT", "").strip()
    if not word:
        return None
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):
        raise UsageError(f"invalid VIDCTL_LOCAL_PORT {word!r}", hint="set it to a number from 1 to 65535")
    return int(word)


def endpoint_id_name(spec_key: str, target: Target) -> str:
    """`VIDCTL_YOLO_ENDPOINT_ID`, or `…_LOCAL`: under which name a spec's endpoint id stands in `.env`."""
    word = re.sub(r"[^A-Z0-9]+", "_", spec_key.upper()).strip("_")
    return f"VIDCTL_{word}_ENDPOINT_ID" + ("_LOCAL" if target == "local" else "")


def make_unseen(folder: Path) -> None:
    """Make a folder of a project's `.vidctl`, all of which git ignores."""
    folder.mkdir(parents=True, exist_ok=True)
    top = next((each for each in (folder, *folder.parents) if each.name == ".vidctl"), None)
    if top and not (top / ".gitignore").exists():
        (top / ".gitignore").write_text("*\n")


def require_own_names(root: Path, keys: Iterable[str]) -> None:
    """Raise UsageError for a spec whose endpoint's id would stand in `.env` under another spec's name."""
    taken: dict[str, list[str]] = {}
    for key in configs.keys(root):
        taken.setdefault(endpoint_id_name(key, "runpod"), []).append(key)
    for key in keys:
        name = endpoint_id_name(key, "runpod")
        if others := [each for each in taken.get(name, []) if each != key]:
            raise UsageError(
                f"{key} and {others[0]} would both keep their endpoint's id as {name}", hint="rename one of the files"
            )


def remember(env_file: Path, name: str, value: str) -> None:
    """Set one variable in `.env`, whole or not at all, every other byte kept; a new file is its owner's only."""
    _edit(env_file, lambda text: _with(text, name, value), hint=f"add the line {name}={value} to it")


def forget(env_file: Path, name: str) -> None:
    """Take one variable out of `.env`, whole or not at all, every other byte kept."""
    if any(each.key == name for each in _bindings(_read(env_file))):
        _edit(env_file, lambda text: _without(text, name), hint=f"remove the line {name}=… from it")


def _edit(env_file: Path, edit: Callable[[str], str], *, hint: str) -> None:
    from filelock import FileLock

    env_file = env_file.resolve()  # a linked .env stays a link
    if env_file.exists() and not env_file.is_file():
        raise VidctlError(
            f"{env_file}: cannot be written: not a regular file",
            hint=f"{hint}, where its content comes from",
        )
    try:
        lock_folder = env_file.parent / ".vidctl"
        make_unseen(lock_folder)
        with FileLock(lock_folder / "env.lock"):
            before = env_file.read_bytes() if env_file.exists() else b""
            mark = codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b""
            files.write(env_file, mark + edit(before[len(mark) :].decode()).encode(), mode=0o600, is_durable=True)
    except VidctlError as error:
        raise VidctlError(error.message, hint=hint) from error
    except (OSError, ValueError) as error:
        raise VidctlError(f"{env_file}: cannot be written: {error}", hint=hint) from error


_BLANK_LINES = re.compile(r"(?:[^\S\r\n]*(?:\r\n|\n|\r))*")
_QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_LINE = re.compile(
    r"(?P<before>\s*(?:export[^\S\r\n]+)?)(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*"
    rf"(?:=(?:[^\S\r\n]*(?:{_QUOTED})|[^\r\n]*?))?"
    r"(?P<after>(?:[^\S\r\n]+\#[^\r\n]*)?[^\S\r\n]*(?:\r\n|\n|\r)?)",
    re.DOTALL,
)
_SINGLE_QUOTED = re.compile(r"\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*=[^\S\r\n]*'")


def _with(text: str, name: str, value: str) -> str:
    """The text with the line that counts, the last of that name, changed, or with one more line."""
    parts = _bindings(text)
    for n in reversed(range(len(parts))):
        if parts[n].key == name and (line := _LINE.fullmatch(parts[n].original.string)):
            changed = f"{line['before']}{name}={value}{line['after']}"
            return "".join([*_strings(parts[:n]), changed, *_strings(parts[n + 1 :])])
    end = "\r\n" if "\r\n" in text else "\n"
    return text + (end if text and not text.endswith(("\n", "\r")) else "") + f"{name}={value}{end}"


def _without(text: str, name: str) -> str:
    """The text without the lines of that name; empty lines before them stay."""
    kept = []
    for each in _bindings(text):
        string = each.original.string
        blank = _BLANK_LINES.match(string)
        kept.append(string if each.key != name else blank[0] if blank else "")
    return "".join(kept)


def _strings(parts: Iterable[Binding]) -> list[str]:
    return [each.original.string for each in parts]


def _bindings(text: str) -> list[Binding]:
    """The file's parts, which together are its text."""
    from dotenv.parser import parse_stream

    return list(parse_stream(io.StringIO(text)))


def _dotenv(env_file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What the file sets; `${NAME}` is filled in, but not between single quotes."""
    text = _read(env_file)
    if not text:
        return {}
    from dotenv.variables import parse_variables

    found: dict[str, str] = {}
    for each in _bindings(text):
        string = each.original.string
        if each.error:
            blank = _BLANK_LINES.match(string)
            _warn(env_file, each.original.line + (len(blank[0].splitlines()) if blank else 0))
        elif each.key is not None and each.value is not None:
            is_literal = _SINGLE_QUOTED.match(string) is not None
            known = {**environ, **found}
            atoms = parse_variables(each.value)
            found[each.key] = each.value if is_literal else "".join(atom.resolve(known) for atom in atoms)
    return found


@cache
def _warn(env_file: Path, line: int) -> None:
    """Tell, once, of a line that is none; what stands in it may be a secret."""
    logging.getLogger("vidctl").warning("%s:%d: line ignored: expected NAME=value", env_file, line)


def _read(env_file: Path) -> str:
    """The file's text; a named pipe, as password managers put there, is read while it is being filled."""
    try:
        if env_file.is_fifo():
            data = _from_pipe(env_file)
        elif env_file.is_file():
            data = env_file.read_bytes()
        elif env_file.is_dir():
            raise UsageError(f"{env_file}: a folder, not a file", hint="save it as UTF-8 lines of NAME=value")
        else:
            return ""
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{env_file}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except ValueError as error:
        raise UsageError(f"{env_file}: not UTF-8 text", hint="save it as UTF-8 lines of NAME=value") from error


def _from_pipe(pipe: Path) -> bytes:
    data = b""
    deadline = time.monotonic() + PIPE_S
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # else opening it would wait for a writer
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left_s)[0]:
                break
            more = os.read(descriptor, 65536)
            if not more and data:
                return data
            if not more:  # nobody writes yet
                time.sleep(0.01)
            data += more
    finally:
        os.close(descriptor)
    raise UsageError(
        f"{pipe}: cannot be read: a named pipe that was not written to its end within {PIPE_S:g} s",
        hint="unlock or start what fills it, or remove the pipe and set the variables in the environment",
    )


def _base_url(project: Project, name: str, default: str) -> str:
    url = project.environ.get(name, "").strip() or default
    if not re.match(r"https?://[^\s/]+", url):
        raise UsageError(f"invalid {name} {url!r}: expected an http(s) URL", hint=f"write it like {default}")
    return url.rstrip("/")
