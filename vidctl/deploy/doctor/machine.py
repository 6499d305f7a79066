"""What a doctor sees of this machine: Python, vidctl, the project, `.env`, the clock, disks, the runtime's port."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import stat
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from vidctl import __version__
from vidctl import spec as specs
from vidctl.deploy.doctor.finding import Finding
from vidctl.deploy.doctor.scope import DoctorScope
from vidctl.local import daemon
from vidctl.local.workers import environments
from vidctl.project import configs, settings
from vidctl.revision import revision
from vidctl.runpod.http import probe

_ROOM_FOR_WORKERS = 10_000_000_000  # the environments of the three shipped workers and their models
_ROOM_TO_WRITE = 1_000_000_000
_CLOCK_WARN_S, _CLOCK_FAIL_S = 30, 300  # a registry's token is valid for 60 to 300 s


def python(_: DoctorScope) -> Finding:
    return Finding("ok", f"{platform.python_version()} ({sys.executable})")


def vidctl(scope: DoctorScope) -> Finding:
    """The version, and what the local runtime needs."""
    found = [f"{name} {version}" for name in ("runpod", "typer", "docker") if (version := _version(name))]
    commit = revision()
    seen = ", ".join([f"vidctl {__version__}{f' ({commit})' if commit else ''}", *found])
    if not (missing := daemon.missing_libraries()):
        return Finding("ok", f"{seen}; with what the local runtime needs")
    seen = f"{seen}; not installed: {', '.join(missing)}"
    return Finding("fail" if scope.is_local else "warn", seen, "pip install --force-reinstall vidctl")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def project(scope: DoctorScope) -> Finding:
    """Whether every spec, overlay and the project's settings are valid."""
    root = scope.project.root
    files = configs.files(root)
    if not files and not scope.settings_mistakes:
        return Finding("warn", f"no specs in {root / 'configs'}", "vidctl init")
    mistakes = list(scope.settings_mistakes)
    for file in files:
        mistakes += [each for each in specs.check(file, environ=scope.environ) if each not in mistakes]
    if mistakes:
        first, more = mistakes[0], f" and {len(mistakes) - 1} more" if len(mistakes) > 1 else ""
        return Finding("fail", f"{first.path}:{first.line}:{first.column}: {first.message}{more}", "vidctl validate")
    return Finding("ok", f"{root}: {', '.join(configs.keys(root))} valid")


def env_file(scope: DoctorScope) -> Finding:
    """Whether nobody else can read the project's secrets."""
    file = scope.project.env_file
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        return Finding("ok", f"{file}: none")
    if mode & 0o077:
        return Finding("warn", f"{file}: others may read it (mode {mode:04o})", f"chmod 600 {file}")
    return Finding("ok", f"{file}: mode {mode:04o}")


def clock(scope: DoctorScope) -> Finding:
    """How far this clock is from RunPod's, by the Date of an answer."""
    if scope.is_local:
        return Finding("skipped", "the local runtime has this machine's clock")
    base = scope.access.api_base_url if scope.access else settings.API_BASE_URL
    response = probe(base, {}, method="HEAD")
    if response is None:
        return Finding("fail", f"{base} does not answer", "check the network and HTTPS_PROXY")
    return clock_at(response.headers.get("Date", ""), time.time(), host=base)


def clock_at(date: str, now_s: float, *, host: str) -> Finding:
    """What a server's Date, which it told at `now_s` by this clock, says of the clock."""
    try:
        ahead = round(now_s - parsedate_to_datetime(date).timestamp())
    except (TypeError, ValueError):
        return Finding("skipped", f"{host} does not tell the time")
    if abs(ahead) < 2:  # a Date has whole seconds, and the answer took a while
        return Finding("ok", "as RunPod's")
    seen = f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} RunPod's"
    if abs(ahead) <= _CLOCK_WARN_S:
        return Finding("ok", seen)
    fix = "sudo sntp -sS time.apple.com" if sys.platform == "darwin" else "sudo timedatectl set-ntp true"
    return Finding("fail" if abs(ahead) > _CLOCK_FAIL_S else "warn", seen, fix)


def project_disk(scope: DoctorScope) -> Finding:
    return _room(scope.project.root, _ROOM_TO_WRITE, "free disk space")


def cache_disk(scope: DoctorScope) -> Finding:
    """Room for workers' environments and models, which the local runtime keeps there."""
    wanted = _ROOM_FOR_WORKERS if scope.is_local else _ROOM_TO_WRITE
    return _room(environments.cache_dir(), wanted, "free disk space, or set VIDCTL_CACHE_DIR to another disk")


def _room(folder: Path, wanted: int, fix: str) -> Finding:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    seen = f"{folder}: {free / 1e9:.1f} GB free"
    if free >= wanted:
        return Finding("ok", seen)
    return Finding("fail" if free < _ROOM_TO_WRITE else "warn", f"{seen}; {wanted / 1e9:.0f} GB may be needed", fix)


def runtime_port(scope: DoctorScope) -> Finding:
    """Whether the local runtime runs, or could."""
    port = settings.local_port(scope.project)
    running = daemon.connection(port)
    if running is None:
        daemon.require_free(daemon.port_of(port))
        return Finding("ok", f"port {daemon.port_of(port)} is free; the local runtime is not running")
    seen = f"{running.url}: vidctl {running.version}, workers as {running.isolation}"
    if running.version != __version__:
        return Finding("warn", f"{seen}; this is {__version__}", "vidctl local up")
    return Finding("ok", seen)
