"""What a sandboxed process sees (S1): the arguments of bubblewrap, computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cluster.java.flags import CLASSES_BYTES, SHM_BYTES
from cluster.java.jdk import Jdk
from cluster.java.launch import INSIDE_CLASSES

INSIDE_PRLIMIT = "/run/prlimit"
MEMORY_PLACES = ("/tmp", "/dev/shm", INSIDE_CLASSES)  # noqa: S108  (inside)
"""Where a program can write: in memory, with sizes that bound what is in files, not how many there are."""
DEVICES = ("null", "full", "random", "urandom")
"""No `zero`: what is mapped from it and shared is memory of the host that no rlimit counts."""
ENVIRONMENT = {"LANG": "C.UTF-8"}


def view(
    jdk: Jdk, prlimit: Path | None, tmp_bytes: int, harness: Mapping[str, str], root: Path | None = None
) -> list[str]:
    """The arguments of bubblewrap: own namespaces, the JDK and its libraries read-only, nothing else.

    There is no `/proc` but for the one link by which the virtual machine finds itself: nobody can open
    another's, or its own, descriptors and memory by name.

    Args:
        jdk: what is shown.
        prlimit: the host's, where it has to set limits inside.
        tmp_bytes: size of `/tmp`.
        harness: what of ours is shown, and where.
        root: a directory with the JDK's libraries, and something to mount on; None: they are bound.
    """
    home = str(jdk.home)
    argv = ["--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    argv += ["--clearenv", "--hostname", "localhost"]
    for name, value in ENVIRONMENT.items():
        argv += ["--setenv", name, value]
    if root:
        argv += ["--ro-bind", str(root), "/", "--ro-bind", home, home]
    else:
        for path in (home, *map(str, jdk.view)):
            argv += ["--ro-bind", path, path]
        argv += ["--ro-bind", str(prlimit), INSIDE_PRLIMIT] if prlimit else []
        argv += ["--dir", "/proc/self", "--symlink", str(jdk.java), "/proc/self/exe"]
    if (jdk.home / "lib" / "jspawnhelper").exists():
        argv += ["--ro-bind", "/dev/null", f"{home}/lib/jspawnhelper"]
    for name in DEVICES:
        argv += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    argv += ["--size", str(SHM_BYTES), "--tmpfs", "/dev/shm"]  # noqa: S108  (inside, and empty)
    argv += ["--size", str(max(tmp_bytes, 4096)), "--tmpfs", "/tmp"]  # noqa: S108
    argv += ["--size", str(CLASSES_BYTES), "--tmpfs", INSIDE_CLASSES]
    for path, inside in harness.items():
        argv += ["--ro-bind", path, inside]
    return [*argv, *(() if root else ("--remount-ro", "/")), "--chdir", "/tmp"]  # noqa: S108
