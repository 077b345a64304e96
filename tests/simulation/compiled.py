"""The same cores and the same simulator as machine code: a seed takes about half as long.

mypyc translates typed Python as it stands. The copy proves itself: its traces, which cover every datagram,
frame and write, must be those of the interpreter. Canaries need the interpreter: they patch classes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.simulation.say import say
from tests.simulation.sweep import COMMIT, built, code

ROOT = Path(__file__).parent.parent.parent

SIMULATOR = (
    "chance",
    "channels",
    "checks",
    "clients",
    "clock",
    "cluster",
    "faults",
    "generate",
    "gossip_world",
    "host",
    "network",
    "simulation",
    "wires",
)
"""Its modules on the path of every event."""

PROVEN = "proven.txt"
"""In a copy that told the same histories: of which sources and which interpreter it is."""

SEEDS_COMPARED = 20
_GOSSIP = """
from msgspec.structs import replace
from tests.simulation.gossip_scale import measure
print(replace(measure(50, 0.2, 7, whole=True), cpu_ms_s=0))
"""


class CannotCompile(Exception):
    """This machine makes no machine code of it; the interpreter does the same, slower."""


class OtherHistories(Exception):
    """The machine code does something else than the interpreter: nothing that it shows is of worth."""


def is_current(directory: Path) -> bool:
    """Whether the copy in there is of these sources, for this interpreter, and has proved itself."""
    try:
        return (directory / PROVEN).read_text(encoding="utf-8") == _identity()
    except OSError:
        return False


def _identity() -> str:
    return f"{code()}, Python {sys.version}"


def make(directory: Path) -> None:
    """Copy, compile, compare, unless that was done; a copy of other sources is replaced.

    Raises:
        FileExistsError: there is something else by that name.
        CannotCompile: no compiler, or it does not take it.
        OtherHistories: the copy does not do the same.
    """
    if is_current(directory):
        return
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not (shutil.which("cc") or shutil.which("gcc")) or not header.exists():
        raise CannotCompile("no C compiler, or no headers of Python (on Debian: gcc, python3-dev)")
    if (directory / COMMIT).exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    (directory / COMMIT).write_text(built().partition(",")[0], encoding="utf-8")
    for name in ("cluster", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    _compile(directory)
    with ThreadPoolExecutor() as both:
        machine_code, interpreted = both.map(_traces, (directory, ROOT))
    if machine_code != interpreted:
        raise OtherHistories(f"{SEEDS_COMPARED} seeds, compiled and interpreted: DIFFERENT histories")
    say(f"{SEEDS_COMPARED} seeds, compiled and interpreted: the same histories")
    (directory / PROVEN).write_text(_identity(), encoding="utf-8")


def _compile(directory: Path) -> None:
    """Translate the copy in place.

    Raises:
        CannotCompile: mypyc or the compiler refuses it.
    """
    modules = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "cluster/core").glob("[a-z]*.py"))]
    modules += [f"tests/simulation/{name}.py" for name in SIMULATOR]
    say(f"compiling {len(modules)} modules: two minutes or so, once for these sources")
    mypyc = [str(Path(sys.executable).with_name("mypyc")), "--ignore-missing-imports"]
    done = subprocess.run(
        [*mypyc, "--explicit-package-bases", *modules],
        cwd=directory,
        env={**os.environ, "MYPYC_OPT_LEVEL": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotCompile(done.stdout[-2000:] + done.stderr[-2000:])


def run(directory: Path, arguments: list[str]) -> int:
    """The same command in the copy; its status."""
    command = [sys.executable, "-P", "-m", "tests.simulation", *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(directory)}, check=False).returncode


def _traces(directory: Path) -> bytes:
    """What the seeds tell, and what a gossip of fifty nodes comes to."""
    seeds = ["-m", "tests.simulation", "traces", "--seeds", str(SEEDS_COMPARED)]
    told = b""
    for arguments in (seeds, ["-c", _GOSSIP]):
        done = subprocess.run([sys.executable, *arguments], cwd=directory, capture_output=True, check=True)
        told += done.stdout
    return told
