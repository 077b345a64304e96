"""A directory with what every sandbox shows of the host, made once (J2): one mount instead of a dozen.

Each file that bubblewrap binds costs it a tenth of a millisecond: it looks up every part of the path, mounts,
and reads the list of all mounts. So the libraries and the configuration of the JDK are copied to where the
sandbox has them, with an empty file or directory wherever something is mounted; the JDK itself is not.
Where no such directory can be made, or the host's files were updated since, they are bound one by one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from cluster.java.jdk import Jdk
from cluster.java.kept import Kept, building, clear_unfinished, hold, states

_KIND = "root"


def prepare(
    jdk: Jdk, copies: Mapping[Path, str], directories: Iterable[str], files: Iterable[str], directory: Path
) -> Kept | None:
    """The root in this directory, made if it is not there; None where none can be made.

    Whoever calls it holds the lock of the directory.

    Args:
        jdk: whose view it is.
        copies: what else of the host is copied, and where to.
        directories: that something is mounted on inside, beside the JDK.
        files: the same.
        directory: where it is kept.
    """
    copied = {path: str(path) for path in jdk.view} | dict(copies)
    mounted = tuple(directories), tuple(files)
    try:
        clear_unfinished(directory, _KIND)
        made_of = states(each for path in copied for each in _files(path))
        told = [(str(path), inside) for path, inside in copied.items()], mounted, str(jdk.java)
        digest = hashlib.sha256(repr((told, [(str(each), then) for each, then in made_of.items()])).encode())
        digest.update(resources.files("cluster.java").joinpath("root.py").read_bytes())
        path = directory / f"{_KIND}-{digest.hexdigest()[:16]}"
        if not path.exists():
            _make(jdk, copied, mounted, path)
        return hold(path, made_of)
    except OSError:
        return None


def _files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _make(
    jdk: Jdk, copied: dict[Path, str], mounted: tuple[tuple[str, ...], tuple[str, ...]], path: Path
) -> None:
    with building(path.parent, _KIND) as work:
        tree = work / path.name
        tree.mkdir()
        for source, inside in copied.items():
            target = _within(tree, inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copy2(source, target)
        for name in (str(jdk.home), *mounted[0]):
            _within(tree, name).mkdir(parents=True, exist_ok=True)
        for name in mounted[1]:
            _within(tree, name).parent.mkdir(parents=True, exist_ok=True)
            _within(tree, name).touch()
        itself = _within(tree, "/proc/self/exe")
        itself.parent.mkdir(parents=True)
        itself.symlink_to(jdk.java)
        _finish(tree)
        tree.rename(path)


def _finish(tree: Path) -> None:
    """Whom programs run as can enter it, whatever this node's mask; no power cut leaves half of a file."""
    for each in (tree, *tree.rglob("*")):
        if each.is_symlink():
            continue
        if each.is_dir():
            each.chmod(0o755)
        descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _within(root: Path, inside: str) -> Path:
    return root / inside.removeprefix("/")
