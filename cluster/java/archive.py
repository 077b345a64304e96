"""The class-data-sharing archive (J2): the classes that a waiting machine loads, ready to be mapped.

It is made at the first start by running the rehearsal and the training program once, and checked at every
start.
A virtual machine that refuses it is no failure: it reads its classes one by one, as it would without.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.java.flags import archive_flags
from cluster.java.frames import NONCE_BYTES, WARM_ORDER, encode_task
from cluster.java.harness import LAUNCHER
from cluster.java.jdk import Jdk
from cluster.java.kept import building, clear_unfinished, stranger
from cluster.java.training import MAIN_CLASS, sources
from cluster.limits import MIB

STEPS = 4
"""Of the rehearsal: `Rehearsal.java` has as many."""
_KIND = "archive"
MAKE_S = 60.0
"""How long one of the four runs may take before the archive is given up."""


def prepare(java: Sequence[str], archive: Path, jdk: Jdk) -> bool:
    """Whether there is an archive that works; made if there is none.

    Blocks for five seconds or so at a first start. Whoever calls it holds the directory's lock. One that does
    not work is replaced by one that does, or left as it is: other nodes may start machines with it, and here
    and now it may not work for want of memory.

    Args:
        java: a command that starts the virtual machine as the sandbox does, but for the main class: an
            archive remembers by which paths it was shown the classes.
        archive: where it is, or will be.
        jdk: compiles what is run to find out which classes are needed.
    """
    java = (*java, *archive_flags())
    try:
        clear_unfinished(archive.parent, _KIND)
        return _works(java, archive) or _make(java, archive, jdk)
    except OSError:
        return False


def _works(java: Sequence[str], archive: Path) -> bool:
    """Whether a machine that must use it starts; it ends by itself when nobody gives it a task."""
    if not archive.exists() or stranger(archive):
        return False
    return succeeds((*java, "-Xshare:on", f"-XX:SharedArchiveFile={archive}", LAUNCHER, "here"), b"")


def _make(java: Sequence[str], archive: Path, jdk: Jdk) -> bool:
    with building(archive.parent, _KIND) as work:
        empty, classes, names, fresh = (work / name for name in ("empty", "app", "names", "fresh"))
        empty.mkdir()
        classes.mkdir()
        compiled = _compiled(jdk, work / "training")
        task = encode_task(bytes(2 * NONCE_BYTES), "run", MIB, MAIN_CLASS, (), compiled)
        train = (
            *java,
            "-Xshare:off",
            f"-XX:DumpLoadedClassList={names}",
            "-cp",
            str(classes),
            LAUNCHER,
            "here",
        )
        if not compiled or not succeeds(train, WARM_ORDER * STEPS + task):
            return False
        dump = ("-Xshare:dump", f"-XX:SharedClassListFile={names}", f"-XX:SharedArchiveFile={fresh}")
        if not succeeds((*java, *dump, "-cp", str(empty)), b""):
            return False
        fresh.chmod(0o644)
        if not _works(java, fresh):
            return False
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(archive)
    return True


def _compiled(jdk: Jdk, directory: Path) -> dict[str, bytes]:
    """The training program's classes by name; none where it can't be compiled."""
    directory.mkdir()
    for name, text in sources().items():
        (directory / name).write_text(text, encoding="utf-8")
    quick = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-nowarn", "-proc:none", "-encoding", "UTF-8")
    succeeds((str(jdk.javac), *quick, "-d", str(directory), *map(str, directory.glob("*.java"))))
    return {path.stem: path.read_bytes() for path in sorted(directory.glob("*.class"))}


def succeeds(argv: Sequence[str], given: bytes = b"") -> bool:
    """Whether a trusted command ends well within `MAKE_S`, given this on its standard input."""
    try:
        done = subprocess.run(
            argv,
            input=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=MAKE_S,
            check=False,
            env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
