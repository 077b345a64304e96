"""The same cores and the same simulator as machine code, for sweeps that take hours.

mypyc translates typed Python as it stands. The copy proves itself: its traces, which cover every datagram,
frame and write, must be those of the interpreter. Canaries need the interpreter: they patch classes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.simulation.say import say
from tests.simulation.sweep import COMMIT, built

ROOT = Path(__file__).parent.parent.parent

SIMULATOR = (
    "chance",
    "channels",
    "checks",
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

SEEDS_COMPARED = 20
_GOSSIP = """
from msgspec.structs import replace
from tests.simulation.gossip_scale import measure
print(replace(measure(50, 0.2, 7, whole=True), cpu_ms_s=0))
"""


def make(directory: Path) -> int:
    """Copy, compile, compare; 0 when the traces are the same.

    Raises:
        FileExistsError: there is such a directory; it is made anew.
    """
    directory.mkdir(parents=True)
    (directory / COMMIT).write_text(built().partition(",")[0], encoding="utf-8")
    for name in ("cluster", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    modules = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "cluster/core").glob("[a-z]*.py"))]
    modules += [f"tests/simulation/{name}.py" for name in SIMULATOR]
    say(f"compiling {len(modules)} modules: two minutes or so")
    mypyc = [str(Path(sys.executable).with_name("mypyc")), "--ignore-missing-imports"]
    done = subprocess.run(
        [*mypyc, "--explicit-package-bases", *modules],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        say(done.stdout[-2000:] + done.stderr[-2000:])
        say("not compiled; it needs a C compiler and Python's headers")
        return 1
    same = _traces(directory) == _traces(ROOT)
    word = "the same histories" if same else "DIFFERENT histories"
    say(f"{SEEDS_COMPARED} seeds, compiled and interpreted: {word}; in {directory}:")
    say(f"  {sys.executable} -m tests.simulation sweep --seeds 100000 --progress progress.jsonl")
    return 0 if same else 1


def _traces(directory: Path) -> bytes:
    """What the seeds tell, and what a gossip of fifty nodes comes to."""
    seeds = ["-m", "tests.simulation", "traces", "--seeds", str(SEEDS_COMPARED)]
    told = b""
    for arguments in (seeds, ["-c", _GOSSIP]):
        done = subprocess.run([sys.executable, *arguments], cwd=directory, capture_output=True, check=True)
        told += done.stdout
    return told
