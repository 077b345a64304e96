"""Ways to make a host worse for a process that lives on it, and to mend it again (issue 7)."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")


@contextlib.contextmanager
def small_disk(directory: Path, size: str = "4m") -> Iterator[None]:
    """Put what is in a directory on a file system of its own, of so many bytes, while the block runs."""
    kept = directory.with_name(directory.name + ".kept")
    shutil.copytree(directory, kept)
    _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "javacluster-test", str(directory))
    try:
        shutil.copytree(kept, directory, dirs_exist_ok=True)
        yield
    finally:
        _run("umount", "--lazy", str(directory))


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """Not a byte is left on the disk of a directory while the block runs."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Nothing can be made or changed there while the block runs; what is open for writing stays so."""
    _run("mount", "--bind", str(directory), str(directory))
    try:
        _run("mount", "-o", "remount,bind,ro", str(directory))
        yield
    finally:
        _run("umount", "--lazy", str(directory))


@contextlib.contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """A running process has no more of something (`resource.RLIMIT_…`) while the block runs."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def size_of(pid: int) -> int:
    """Bytes of a process's address space."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
