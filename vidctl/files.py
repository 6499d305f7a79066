"""Write files: the one writer, whole or not at all, and their names."""

from __future__ import annotations

import errno
import os
import re
import stat
import uuid
from pathlib import Path

from vidctl.errors import VidctlError

# A rename cannot take the place of a mount point (a file that Docker binds), nor be made in a folder that is read-only.
_NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
_DESCRIPTOR = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)|/dev/(stdin|stdout|stderr)")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}


def write(path: Path, data: bytes, *, mode: int | None = None, is_durable: bool = False) -> Path:
    """Write the whole file or nothing, making its folder; raise VidctlError with what stood in the way.

    A link is followed, and what it leads to keeps its mode and owner; `mode` is for a file that is new.  What is no
    regular file (a pipe, /dev/stdout) is written to, never replaced.  Where a rename cannot be (a bind-mounted file, a
    read-only folder, a file of several names) it is written in place.  `is_durable` waits until the disk has it.
    """
    try:
        if (descriptor := _descriptor(path)) is not None:
            _write_all(os.dup(descriptor), data)
            return path
        real = Path(os.path.realpath(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        there = _status(real)
        if there and (not stat.S_ISREG(there.st_mode) or there.st_nlink > 1):
            _write_in_place(real, data, is_durable=is_durable)
        else:
            _replace(real, data, there, mode=mode, is_durable=is_durable)
    except OSError as error:
        raise VidctlError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def write_new(path: Path, data: bytes, *, overwrite: bool) -> Path:
    """Write a file of a folder of results; raise VidctlError if another stands there, unless it may be overwritten."""
    if not overwrite:
        try:
            differs = stat.S_ISREG(path.stat().st_mode) and path.read_bytes() != data
        except FileNotFoundError:
            return write(path, data)
        except OSError as error:
            raise VidctlError(f"{path}: cannot be written ({error.strerror or error})") from error
        if differs:
            raise VidctlError(f"{path}: is there already, and differs", hint="--overwrite takes its place")
    return write(path, data)


def check(path: Path, *, is_folder: bool = False) -> None:
    """Raise VidctlError if no file could be written there, or none into the folder; nothing is left behind."""
    try:
        if _descriptor(path) is not None:
            return
        real = Path(os.path.realpath(path))
        there = _status(real)
        if is_folder or there is None:
            _try(real if is_folder else real.parent)
        elif stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        elif not os.access(real, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise VidctlError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def _try(folder: Path) -> None:
    """Make a file in the folder, or in what is there of the way to it, and take it away: nothing else finds out."""
    while _status(folder) is None:
        folder = folder.parent
    probe = folder / f".{uuid.uuid4().hex}.part"
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    probe.unlink()


class Growing:
    """A file that grows by one result after the other, each on its way to the disk before the next is waited for.

    It is emptied when the first comes.  A link is followed, and a file that is there keeps its mode.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def add(self, data: bytes) -> None:
        """Append; raise VidctlError, and take back what there was room for, where it cannot be written whole."""
        try:
            if self._descriptor is None:
                self._descriptor = self._opened()
            _append(self._descriptor, data)
        except OSError as error:
            raise VidctlError(f"{self._path}: cannot be written ({error.strerror or error})") from error

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if (descriptor := _descriptor(self._path)) is not None:
            return os.dup(descriptor)
        real = Path(os.path.realpath(self._path))
        real.parent.mkdir(parents=True, exist_ok=True)
        return os.open(real, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)


def _append(descriptor: int, data: bytes) -> None:
    is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    before = os.lseek(descriptor, 0, os.SEEK_CUR) if is_regular else 0
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        if is_regular:
            os.ftruncate(descriptor, before)
        raise


def _descriptor(path: Path) -> int | None:
    """The open file that a name like /dev/stdout stands for; opening it anew would truncate what is there."""
    found = _DESCRIPTOR.fullmatch(os.fspath(path))
    if not found:
        return None
    number = found[1] or found[2]
    return int(number) if number else _STANDARD[found[3]]


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _replace(path: Path, data: bytes, there: os.stat_result | None, *, mode: int | None, is_durable: bool) -> None:
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
    first_mode = 0o666 if there is None and mode is None else 0o600  # less what the umask takes away
    try:
        _write_all(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, first_mode), data, is_durable=is_durable)
        _dress(unfinished, there, mode)
        unfinished.replace(path)
    except OSError as error:
        _discard(unfinished)
        if not there or error.errno not in _NO_RENAME:
            raise
        _write_in_place(path, data, is_durable=is_durable)
    except BaseException:
        _discard(unfinished)
        raise


def _dress(unfinished: Path, there: os.stat_result | None, mode: int | None) -> None:
    """Give a new file the mode and the owner of the one whose place it takes."""
    if there:
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(unfinished, there.st_uid, there.st_gid)
        unfinished.chmod(stat.S_IMODE(there.st_mode))
    elif mode is not None:
        unfinished.chmod(mode)


def _write_in_place(path: Path, data: bytes, *, is_durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    _write_all(descriptor, data, whole_file=is_regular, is_durable=is_durable and is_regular)


def _write_all(descriptor: int, data: bytes, *, whole_file: bool = False, is_durable: bool = False) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if whole_file:
            file.truncate()
        if is_durable:
            file.flush()
            os.fsync(descriptor)


def _discard(unfinished: Path) -> None:
    try:
        unfinished.unlink(missing_ok=True)
    except OSError:
        return  # its folder could not be made or entered, so it is not there either
