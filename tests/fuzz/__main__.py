"""`python -m tests.fuzz`: look for inputs that break a parser's promise, guided by what code they reach.

    python -m tests.fuzz run [--seconds S] [TARGET ...]     each for S seconds; a table at the end
    python -m tests.fuzz keep [TARGET ...]                  take what `run` found worth it into the corpus
    python -m tests.fuzz check TARGET FILE ...              one input, with its traceback

`make fuzz SECONDS=S` is the first. What it learns stays in `build/fuzz` and is where the next run begins; an
input that broke a promise is there too, and belongs into `tests/fuzz/corpus/TARGET` with the mend.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs

from tests.fuzz.target import CORPUS, Target
from tests.fuzz.targets import MODULE_OF, TARGETS

BUILD = Path("build/fuzz")
INPUT_S = 10
"""One input that takes longer is a finding."""
MEMORY_MIB = 1500
"""So is one that needs more than this, of the whole process."""
ALLOCATION_MIB = 256
KEPT_MAX = 40
"""Inputs that a target's corpus holds, the smallest that reach the most."""
KEPT_BYTES = 24_000

_STATUS = re.compile(r"^#(\d+)\s.*?cov: (\d+) ft: \d+ corp: (\d+)", re.MULTILINE)
_DONE = re.compile(r"^Done \d+ runs in (\d+) second", re.MULTILINE)


@attrs.frozen
class Found:
    """What one target's run came to."""

    name: str
    runs: int
    seconds: float
    corpus: int
    edges: int
    findings: tuple[Path, ...]
    report: str

    def row(self) -> str:
        """Of the table."""
        rate = self.runs / self.seconds if self.seconds else 0
        return (
            f"{self.name:<14} {self.runs:>9} {rate:>8.0f} {self.corpus:>7} {self.edges:>6} "
            f"{len(self.findings):>9}"
        )


HEAD = f"{'target':<14} {'runs':>9} {'runs/s':>8} {'corpus':>7} {'edges':>6} {'findings':>9}"


def say(line: str) -> None:
    """For people."""
    print(line, flush=True)  # noqa: T201  (this is a command)


def _libfuzzer(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it by a script of its own, as libFuzzer starts its own command again when it merges."""
    script = BUILD / target.name / "guided"
    script.parent.mkdir(parents=True, exist_ok=True)
    words = (sys.executable, "-W", "ignore", "-m", "tests.fuzz.guided", str(script))
    named = shlex.join([*words, MODULE_OF[target.name], target.name])
    script.write_text(f'#!/bin/sh\nexec {named} "$@"\n')
    script.chmod(0o755)
    return subprocess.run(
        [str(script), *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _seeded(target: Target) -> Path:
    """The directory that the target's inputs are in, with the kept and the real ones."""
    inputs = BUILD / target.name / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate((*target.seeds(), *target.corpus())):
        (inputs / f"known-{number:03}").write_bytes(data)
    return inputs


def fuzz(target: Target, seconds: int) -> Found:
    """Look for so long."""
    inputs = _seeded(target)
    findings = BUILD / target.name / "findings"
    shutil.rmtree(findings, ignore_errors=True)
    findings.mkdir()
    done = _libfuzzer(
        target,
        str(inputs),
        f"-max_total_time={seconds}",
        f"-max_len={target.bytes_max}",
        "-keep_seed=1",  # what is decoded in C shows no new code, and every real message is a place to begin
        f"-timeout={INPUT_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-malloc_limit_mb={ALLOCATION_MIB}",
        f"-artifact_prefix={findings}/",
    )
    ended = _DONE.search(done.stderr)
    took = float(ended[1]) if ended else 0.0
    last = (_STATUS.findall(done.stderr) or [(0, 0, 0)])[-1]
    runs, edges, corpus = map(int, last)
    broke = tuple(sorted(findings.iterdir()))
    report = ""
    if done.returncode or broke:
        told = [line for line in done.stderr.splitlines() if not line.startswith(("INFO:", "WARNING:", "#"))]
        report = "\n".join([done.stdout, *told, f"it ended with {done.returncode}"])
    return Found(target.name, runs, took, corpus, edges, broke, report)


def run(targets: list[Target], seconds: int) -> int:
    """Each in turn; 1 if any broke its promise."""
    found = []
    for number, target in enumerate(targets, start=1):
        say(f"[{number}/{len(targets)}] {target.name}: {target.promise}; {seconds} s")
        one = fuzz(target, seconds)
        found.append(one)
        if one.report:
            say(one.report[-4000:])
            for path in one.findings:
                say(f"FOUND {path}: `python -m tests.fuzz check {target.name} {path}`")
    say(f"\n{HEAD}")
    for one in found:
        say(one.row())
    total = Found(
        "all",
        sum(one.runs for one in found),
        sum(one.seconds for one in found),
        sum(one.corpus for one in found),
        sum(one.edges for one in found),
        tuple(path for one in found for path in one.findings),
        "",
    )
    say(total.row())
    return 1 if any(one.report for one in found) else 0


def keep(target: Target) -> None:
    """Minimize what is known, by libFuzzer, and keep what is small."""
    inputs = _seeded(target)
    with tempfile.TemporaryDirectory() as made:
        done = _libfuzzer(target, "-merge=1", f"-max_len={target.bytes_max}", made, str(inputs))
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        seeds = set(target.seeds())
        chosen = [data for path in Path(made).iterdir() if (data := path.read_bytes()) not in seeds]
    kept = CORPUS / target.name
    kept.mkdir(parents=True, exist_ok=True)
    room = KEPT_BYTES
    names: set[str] = set()
    for data in sorted(chosen, key=lambda data: (len(data), data))[:KEPT_MAX]:
        if (room := room - len(data)) < 0:
            break
        names.add(_name(data))
        (kept / _name(data)).write_bytes(data)
    for path in kept.iterdir():
        if path.name.startswith("reached-") and path.name not in names:
            path.unlink()
    say(f"{target.name}: {len(names)} kept of {len(chosen)}")


def _name(data: bytes) -> str:
    return f"reached-{hashlib.sha256(data).hexdigest()[:12]}"


def check(target: Target, files: list[Path]) -> int:
    """Raise what an input raises."""
    for path in files:
        target.check(path.read_bytes())
        say(f"{path}: the promise holds")
    return 0


def main() -> int:
    """Parse, do."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("run")
    one.add_argument("--seconds", type=int, default=30)
    one.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}")
    two = parts.add_parser("keep")
    two.add_argument("targets", nargs="*")
    three = parts.add_parser("check")
    three.add_argument("target")
    three.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    names = [given.target] if given.part == "check" else given.targets or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    chosen = [TARGETS[name] for name in names]
    match given.part:
        case "run":
            return run(chosen, given.seconds)
        case "keep":
            for target in chosen:
                keep(target)
            return 0
        case _:
            return check(chosen[0], given.files)


if __name__ == "__main__":
    sys.exit(main())
