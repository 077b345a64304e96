"""The two small Java mains, compiled on this host by its own JDK at first start (J5)."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import zipfile
from importlib import resources
from pathlib import Path

from cluster.errors import EnvironmentFault, HostExhausted
from cluster.java.jdk import Jdk
from cluster.java.kept import Kept, building, clear_unfinished, forget_others, locked, stranger
from cluster.java.scarcity import fault_of
from cluster.java.training import sources as training

COMPILER = "javacluster.internal.Compiler"
LAUNCHER = "javacluster.internal.Launcher"
SHARED = Path("/var/cache/javacluster")
"""Where it is kept when the node is root and its state directory is closed to the user that programs get."""

_KIND = "harness"
_BUILD_S = 300.0
"""Ten times what the slowest real machine needs: an emulated one is slower still."""
_MADE = 1_000_000_000
"""The jar's date, always the same: the archive of its classes holds for a jar of one date only."""
_EXPORTS = (
    "--add-exports=java.base/jdk.internal.vm.annotation=ALL-UNNAMED",
    "--add-exports=jdk.compiler/com.sun.tools.javac.api=ALL-UNNAMED",
    "--add-exports=jdk.compiler/com.sun.tools.javac.code=ALL-UNNAMED",
    "--add-exports=jdk.compiler/com.sun.tools.javac.util=ALL-UNNAMED",
)


def directory(wanted: Path) -> Path:
    """Where jar, image and archive are kept; made if it is not there.

    Whoever starts bubblewrap must be able to read them there, and nobody else to write: what is kept is run
    as this node's user.

    Raises:
        EnvironmentFault: it can't be made, or somebody else could put something there.
    """
    try:
        _make_directory(wanted)
        inner = wanted.resolve()
        if os.geteuid() == 0 and not all(map(_may_enter, (inner, *inner.parents))):
            _make_directory(SHARED)
            if not _may_enter(SHARED):  # an earlier node's mask closed it
                SHARED.chmod(0o755)
            wanted = SHARED
        why = stranger(wanted)
    except OSError as error:
        raise fault_of(f"can't keep anything in {wanted}: {error.strerror or error}", error) from error
    if why:
        raise EnvironmentFault(
            f"{wanted} is not this node's alone ({why}), and what is kept there is run as its user: "
            "chown and chmod it, or set java.cache_directory to another directory"
        )
    return wanted


def _make_directory(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)


def _may_enter(path: Path) -> bool:
    """Whether anybody may."""
    return bool(path.stat().st_mode & stat.S_IXOTH)


def build(jdk: Jdk, directory: Path) -> Kept:
    """A jar with both, made once for each content of the sources and each JDK; later starts find it.

    Args:
        jdk: compiles them.
        directory: see the function of that name.

    Raises:
        EnvironmentFault: the directory can't be written, the jar is not ours, or the JDK's compiler refuses.
    """
    sources = {
        entry.name: entry.read_bytes()
        for entry in resources.files("cluster.java").joinpath("harness").iterdir()
        if entry.name.endswith(".java")
    }
    digest = hashlib.sha256(f"{jdk.home}\n{jdk.version}\n".encode())
    for name in sorted(sources):
        digest.update(f"{name}\n{len(sources[name])}\n".encode() + sources[name])
    digest.update("".join(training().values()).encode())  # the archive beside it is made of that
    jar = directory / f"{_KIND}-{digest.hexdigest()[:16]}.jar"
    try:
        with locked(directory):
            clear_unfinished(directory, _KIND)
            if not _usable(jar):
                _make(jdk, sources, jar)
            kept = Kept(jar)
            forget_others(jar)
    except OSError as error:
        raise fault_of(f"can't keep {jar}: {error.strerror or error}", error) from error
    return kept


def _usable(jar: Path) -> bool:
    try:
        with zipfile.ZipFile(jar) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _make(jdk: Jdk, sources: dict[str, bytes], jar: Path) -> None:
    with building(jar.parent, _KIND) as work:
        for name, text in sources.items():
            (work / name).write_bytes(text)
        argv = [
            str(jdk.javac),
            "-J-XX:TieredStopAtLevel=1",
            "-J-XX:+UseSerialGC",
            "-nowarn",
            "-proc:none",
            "-encoding",
            "UTF-8",
            "-XDignore.symbol.file",
        ]
        argv += [*_EXPORTS, "-d", str(work / "classes"), *(str(work / name) for name in sorted(sources))]
        try:
            done = subprocess.run(
                argv, capture_output=True, timeout=_BUILD_S, check=False, env={"LC_ALL": "C.UTF-8"}
            )
        except subprocess.TimeoutExpired:
            raise HostExhausted(f"{jdk.javac} took more than {_BUILD_S:.0f} s for two small files") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[:2000]
            raise fault_of(f"{jdk.javac} can't compile the harness: {said}")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted((work / "classes").rglob("*.class")):
                archive.writestr(str(path.relative_to(work / "classes")), path.read_bytes())
        finished = work / "harness.jar"
        finished.write_bytes(buffer.getvalue())
        finished.chmod(0o644)
        os.utime(finished, (_MADE, _MADE))
        with finished.open("rb") as file:
            os.fsync(file.fileno())
        finished.replace(jar)
