"""Finding a JDK, and what of the machine it needs to be seen to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import attrs

from cluster.errors import EnvironmentFault, HostExhausted
from cluster.java.scarcity import fault_of

JAVA_MIN = 17

_FIX = "apt-get install openjdk-17-jdk-headless (or set java.home to a JDK's directory)"
_PROBE_S = 20.0
_ATTEMPTS = 3
"""A crowded host may refuse a process or a page at one moment and not at the next."""
_LIBRARIES = (
    "lib/server/libjvm.so",
    "lib/libjava.so",
    "lib/libnet.so",
    "lib/libnio.so",
    "lib/libzip.so",
    "lib/libjimage.so",
    "lib/libawt.so",
    "lib/libawt_headless.so",
)
_LOCALES = (Path("/usr/lib/locale/C.utf8"), Path("/usr/lib/locale/C.UTF-8"))
_ETC = Path("/etc")
_LOADED_LATE = ("libdl.so.2", "libpthread.so.0", "librt.so.1")


@attrs.frozen
class Jdk:
    """A development kit.

    Attributes:
        home: its directory, without symbolic links.
        version: such as `17.0.15`.
        view: files and directories outside `home` that it needs: shared libraries and its configuration.
    """

    home: Path
    version: str
    view: tuple[Path, ...]

    @property
    def java(self) -> Path:
        """The program that starts a virtual machine."""
        return self.home / "bin" / "java"

    @property
    def javac(self) -> Path:
        """The compiler's own program."""
        return self.home / "bin" / "javac"


def find(home: str) -> Jdk:
    """The JDK in `home`, or, where that is empty, the one that `javac` on the PATH belongs to.

    Raises:
        EnvironmentFault: there is none, or it is too old; the text says what to install.
    """
    if home:
        root = Path(home).resolve()
    else:
        javac = shutil.which("javac")
        if javac is None:
            raise EnvironmentFault(f"no JDK found: {_FIX}")
        root = Path(javac).resolve().parent.parent
    if not (root / "bin" / "javac").is_file() or not (root / "bin" / "java").is_file():
        raise EnvironmentFault(f"no JDK in {root} (bin/java and bin/javac are needed): {_FIX}")
    version = _version(root)
    major = version.split(".", 1)[0]
    if not major.isdigit() or int(major) < JAVA_MIN:
        raise EnvironmentFault(f"the JDK in {root} is {version}; {JAVA_MIN} or newer is needed: {_FIX}")
    return Jdk(root, version, (*_libraries(root), *_outside(root)))


def _version(root: Path) -> str:
    try:
        text = (root / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    if found := re.search(r'^JAVA_VERSION="([0-9][^"]{0,40})"', text, re.MULTILINE):
        return found[1]
    said = _ask([str(root / "bin" / "java"), "-version"])
    found = re.search(r'version "([0-9][^"]{0,40})"', said)
    if found is None:
        raise EnvironmentFault(f"{root}/bin/java does not tell its version: {_FIX}")
    return found[1]


def _libraries(root: Path) -> tuple[Path, ...]:
    """Shared libraries, as the dynamic loader itself lists them."""
    said = _ask([str(root / "bin" / "java")], LD_TRACE_LOADED_OBJECTS="1")
    loader = next((word for word in said.split() if word.startswith("/") and "/ld-" in word), "")
    if not loader:
        raise EnvironmentFault(f"can't tell the shared libraries of {root}/bin/java: is it for this machine?")
    for library in _LIBRARIES:
        if (root / library).exists():
            said += _ask([loader, "--list", str(root / library)])
    if prlimit := shutil.which("prlimit"):  # it starts the virtual machine inside the sandbox
        said += _ask([loader, "--list", prlimit])
    found = {Path(word) for word in said.split() if word.startswith("/")}
    system = {path for path in found if not path.resolve().is_relative_to(root) and path.exists()}
    for path in tuple(system):
        system.update(late for name in _LOADED_LATE if (late := path.parent / name).exists())
    return tuple(sorted(system | {path for path in _LOCALES if path.is_dir()}))


def _outside(root: Path) -> tuple[Path, ...]:
    """What the JDK links to under `/etc`: its configuration directory, and single files of others."""
    found = set()
    for part in ("conf", "lib"):
        for directory, _, names in os.walk(root / part):
            for path in (Path(directory, name) for name in names):
                if (
                    path.is_symlink()
                    and (target := path.resolve()).is_file()
                    and target.is_relative_to("/etc")
                ):
                    top = Path(*target.parts[:3])
                    found.add(top if "java" in top.name or "jdk" in top.name else target)
    return tuple(sorted(found))


def _ask(argv: list[str], **environment: str) -> str:
    """What a trusted program of the host prints, whatever its exit status.

    A library that the answer lacks is missing in the sandbox, so no answer is a fault, never an empty one.

    Raises:
        EnvironmentFault: it could not be run, or did not end; a HostExhausted where that may pass.
    """
    failure: OSError | None = None
    for _ in range(_ATTEMPTS):
        try:
            done = subprocess.run(
                argv,
                env={"LC_ALL": "C", **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_S,
                check=False,
            )
            return (done.stdout + done.stderr).decode("utf-8", "replace")
        except OSError as error:
            failure = error
        except subprocess.TimeoutExpired as error:
            raise HostExhausted(f"{' '.join(argv)} did not end within {_PROBE_S:g} s") from error
    raise fault_of(f"can't run {' '.join(argv)}: {failure}", failure)
