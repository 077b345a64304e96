"""Files that are either the old one or the new one, whatever happens in between (N3)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cluster.errors import EnvironmentFault

DIRECTORY_MODE = 0o700
SECRET_MODE = 0o600
PUBLIC_MODE = 0o644

SECRET_REFUSED = 0o037
"""Bits that a secret's mode must not have: the owner and, to read, the service's group may use it."""


class Disk:
    """The system calls of `replace_file`, one a method, so that a test can crash between any two."""

    def remove(self, path: Path) -> None:
        """Remove a left-over, if there is one."""
        path.unlink(missing_ok=True)

    def create(self, path: Path, mode: int) -> int:
        """Create a file that must not exist, and open it."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def write(self, fd: int, data: bytes) -> int:
        """Write some of the data; give back how much."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Make the file's content durable."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close it."""
        os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Put it in place."""
        source.replace(target)

    def sync_directory(self, path: Path) -> None:
        """Make the directory's names durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def replace_file(path: Path, data: bytes, mode: int = SECRET_MODE, disk: Disk | None = None) -> None:
    """Replace a file's content; when this returns, the new content survives a power cut.

    A crash before the rename leaves the old content and perhaps a `.tmp` beside it, which nobody reads.

    Raises:
        OSError: nothing is known of which of the two contents the file has.
    """
    disk = disk or Disk()
    temporary = path.with_name(path.name + ".tmp")
    disk.remove(temporary)
    fd = disk.create(temporary, mode)
    try:
        rest = data
        while rest:
            rest = rest[disk.write(fd, rest) :]
        disk.sync(fd)
    finally:
        disk.close(fd)
    disk.rename(temporary, path)
    disk.sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory that only its owner may look into, unless it is there already.

    Raises:
        EnvironmentFault: it can't be made.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be made a directory: {error.strerror}") from error


def read_file(path: Path, what: str, advice: str = "`javacluster init` makes one") -> bytes:
    """Read a file that the node can't do without.

    Raises:
        EnvironmentFault: it can't be read; the text says what it is and how to get it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise EnvironmentFault(f"{path}: no {what} there; {advice}") from error
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: the {what} can't be read ({error.strerror}); "
            f"make it readable for the user that runs javacluster"
        ) from error


def read_secret(path: Path, what: str, advice: str = "`javacluster init` makes one") -> bytes:
    """Read a file that nobody else may know.

    Raises:
        EnvironmentFault: it can't be read, or others could read or change it.
    """
    data = read_file(path, what, advice)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & SECRET_REFUSED:
        raise EnvironmentFault(
            f"{path}: the {what} is open to others (mode {mode:04o}); run `chmod 600 {path}`"
        )
    return data
