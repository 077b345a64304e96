"""What is made once and kept for later starts: who holds it, whether it still fits, and when it goes (J2)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

UNFINISHED = "build-"
"""Of what a node that was killed meanwhile left behind."""


class Kept:
    """A file or directory that is there, and stays there until `release`.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, made_of: Iterable[Path]) -> None:
        """Hold it: whoever clears up leaves alone what somebody holds.

        Args:
            path: where it is.
            made_of: files of the host that it is a copy of.

        Raises:
            OSError: one of them is not there.
        """
        self.path = path
        self._made_of = {source: state(source) for source in made_of}
        self._held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._held, fcntl.LOCK_SH)

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


def state(path: Path) -> tuple[int, int]:
    """What another file in its place would not have: size and time of the last change."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def forget_others(kept: Path, pattern: str) -> None:
    """Take away what was made for another version, of the host or of ours, and is not held."""
    for other in kept.parent.glob(pattern):
        if other == kept or other.name.startswith(UNFINISHED):
            continue
        held = os.open(other, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # a node of another version runs programs with it
        else:
            remove(other)
        finally:
            os.close(held)


def remove(path: Path) -> None:
    """A file with its archive of classes, or a directory."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
        path.with_suffix(".jsa").unlink(missing_ok=True)


def clear_unfinished(directory: Path, kind: str) -> None:
    """Whoever calls it holds the directory's lock, so that nobody is at it."""
    for left in directory.glob(f"{UNFINISHED}{kind}-*"):
        shutil.rmtree(left, ignore_errors=True)
