"""The interface does what its own description says: H6, by schemathesis against a live cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cluster import tokens
from cluster.tokens import Token, digest_of, new_token
from tests.integration.live import live_cluster

pytestmark = pytest.mark.integration

THOROUGH = bool(os.environ.get("JAVACLUSTER_BROWSER"))
"""Every phase, as in continuous integration; else a look that takes seconds."""
PHASES = "examples,coverage,fuzzing,stateful" if THOROUGH else "fuzzing,stateful"
EXAMPLES = 20 if THOROUGH else 3
LIMIT_S = 900
"""One that is reached is a request that does not end: all of it takes a minute, on a busy machine a few."""
PATIENCE_S = 70
"""A stream of events lasts until its job has ended, at the latest by its deadline."""

ORIGINAL = "/compileandrun"
"""Any text is a valid body there, and most texts are no Java: by the original's rules that is a 400."""

SETTINGS = """
[parameters]
"query.follow" = 0
"""
"""A log that is followed has no end."""

SCOPES = (
    ("--exclude-path", ORIGINAL),
    ("--include-path", ORIGINAL, "--exclude-checks", "positive_data_acceptance"),
)


DROP_INS = (
    *(part for name in ("jobe", "piston", "judge0") for part in ("--include-tag", name)),
    *("--exclude-checks", "positive_data_acceptance,negative_data_rejection"),
)
"""What they take is defined by other systems and not by a schema: looked for are faults, bodies that are read
without a token, and methods that are not theirs.
"""


@pytest.mark.parametrize("guarded", [False, True], ids=["open", "with a token"])
def test_schemathesis_finds_nothing(tmp_path: Path, guarded: bool) -> None:
    """H6, H9: where no token is needed, and where one is, given and left out."""
    _run(tmp_path, SCOPES, guarded=guarded)


def test_nor_does_it_in_the_drop_in_interfaces(tmp_path: Path) -> None:
    """With tokens, as each of them has its own way to ask for one."""
    _run(tmp_path, (DROP_INS,), guarded=True, gateway__compat__interfaces="[jobe, piston, judge0]")


def _run(place: Path, scopes: Iterable[tuple[str, ...]], *, guarded: bool, **settings: Any) -> None:
    token = new_token()
    if guarded:
        file = place / "tokens.yml"
        row = Token(name="ann", sha256=digest_of(token), rate=100_000, burst=100_000)
        file.write_text(tokens.render((row,)))
        settings["gateway__tokens_file"] = file
    (place / "schemathesis.toml").write_text(SETTINGS)
    with live_cluster(place / "c", **settings) as cluster:
        for scope in scopes:
            command = [
                *(sys.executable, "-m", "schemathesis.cli", "run", "--no-color", "--checks", "all"),
                *("--phases", PHASES, "-n", str(EXAMPLES), "--generation-deterministic"),
                *("--max-response-time", str(PATIENCE_S)),
                *(("--header", f"Authorization: Bearer {token}") if guarded else ()),
                *(*scope, f"http://127.0.0.1:{cluster.http_port}/openapi.json"),
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, cwd=place, check=False
            )
            assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
