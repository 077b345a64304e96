"""What is made once and kept for later starts: who holds it, whether it still fits, and when it goes (J2).

Each thing lies in one directory under a name of its kind and of all that it is made from, such as
`image-59ba18e2b4902aa8.modules`; what is being made, or taken away, begins with `build-` until that is done.
Nodes of one machine may share the directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

State = tuple[int, int]
"""Of a file of the host: what another one in its place would not have."""

UNFINISHED = "build-"
_LOCK = "harness-lock"
_NAME = re.compile(r"(?P<kind>[a-z]+)-[0-9a-f]{16}(?P<suffix>(\.[a-z]+)?)")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nodes of one machine that share the directory make one of each thing, not one each."""
    with (directory / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stranger(path: Path) -> str:
    """Who else could have put something else there; empty: nobody.

    Raises:
        OSError: it is not there.
    """
    return _stranger(path.stat())


def _stranger(found: os.stat_result) -> str:
    if found.st_uid not in {0, os.geteuid()}:
        return f"user {found.st_uid} owns it"
    writers = found.st_mode & _OTHERS_WRITE
    if found.st_gid in {0, os.getegid()}:
        writers &= ~stat.S_IWGRP
    return f"its mode {stat.S_IMODE(found.st_mode):04o} lets others write" if writers else ""


def _demand_ours(descriptor: int, path: Path) -> None:
    if why := _stranger(os.fstat(descriptor)):
        raise PermissionError(errno.EPERM, why, str(path))


class Kept:
    """A file or directory that is there, and stays there until `release`.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, made_of: Mapping[Path, State] | None = None) -> None:
        """Hold it: whoever clears up leaves alone what somebody holds.

        Args:
            path: where it is.
            made_of: files of the host that it is a copy of, as they were before it was made.

        Raises:
            OSError: it is not there, or not ours.
        """
        self.path = path
        self._made_of = made_of or {}
        self._held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _demand_ours(self._held, path)
            fcntl.flock(self._held, fcntl.LOCK_SH)
        except BaseException:
            self.release()
            raise

    def fits(self) -> bool:
        """Whether the host's files are still those: an update replaces them under a running node."""
        try:
            unchanged = all(state(source) == then for source, then in self._made_of.items())
            return unchanged and self.path.exists()
        except OSError:
            return False

    def release(self) -> None:
        """It may go."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def state(path: Path) -> State:
    """Its size and the time of its last change."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def states(paths: Iterable[Path]) -> dict[Path, State]:
    """Of each of them.

    Raises:
        OSError: one is not there.
    """
    return {path: state(path) for path in paths}


def hold(path: Path, made_of: Mapping[Path, State]) -> Kept | None:
    """Hold what was found or made, and forget what it takes the place of.

    None: an update of the host went on while it was made, so that half of it may be of the new version; it is
    taken away. Whoever calls it holds the lock of the directory.

    Raises:
        OSError: it is not there, or not ours.
    """
    kept = Kept(path, made_of)
    if not kept.fits():
        kept.release()
        discard(path)
        return None
    forget_others(path)
    return kept


@contextmanager
def building(directory: Path, kind: str) -> Iterator[Path]:
    """A directory to make something in, gone afterwards. Whoever calls it holds the lock of its parent."""
    work = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{kind}-", dir=directory))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def forget_others(kept: Path) -> None:
    """Take away what was made for another version, of the host or of ours, and is not held."""
    mine = _NAME.fullmatch(kept.name)
    for other in kept.parent.iterdir():
        found = _NAME.fullmatch(other.name)
        if mine and found and other != kept and found.groupdict() == mine.groupdict():
            with suppress(OSError):  # what can't be opened or taken away is no reason to do without
                discard(other)


def discard(path: Path) -> bool:
    """Take it away with its archives of classes, unless somebody holds it; whether it is gone.

    Raises:
        OSError: it is not there, or can't be taken away.
    """
    held = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for archive in path.parent.glob(f"{path.stem}*.jsa"):
            archive.unlink()
        with building(path.parent, path.name.partition("-")[0]) as away:
            path.rename(away / path.name)  # half of it under its own name would be taken for the whole
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def clear_unfinished(directory: Path, kind: str) -> None:
    """What a killed node left; whoever calls it holds the directory's lock, so that nobody is at it."""
    for left in directory.glob(f"{UNFINISHED}{kind}-*"):
        shutil.rmtree(left, ignore_errors=True)
