"""The interface does what its own description says: H6, by schemathesis against a live cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster import tokens
from cluster.tokens import Token, digest_of, new_token
from tests.integration.live import live_cluster

pytestmark = pytest.mark.integration

THOROUGH = bool(os.environ.get("JAVACLUSTER_BROWSER"))
"""Every phase, as in continuous integration; else a look that takes seconds."""
LIMIT_S = 900 if THOROUGH else 300
PATIENCE_S = 70
"""A stream of events lasts until its job has ended, at the latest by its deadline."""

# Any text is a valid body there, and most texts are no Java: by the original's rules that is a 400.
ORIGINAL = "/compileandrun"


GUARDED = pytest.param(True, id="with a token", marks=pytest.mark.exhaustive)
"""Takes many minutes: `pytest -m exhaustive tests/integration/test_openapi.py`."""


@pytest.mark.parametrize("guarded", [pytest.param(False, id="open"), GUARDED])
def test_schemathesis_finds_nothing(tmp_path: Path, guarded: bool) -> None:
    """H6, H9: where no token is needed, and where one is, given and left out."""
    phases = "examples,coverage,fuzzing,stateful" if THOROUGH else "fuzzing,stateful"
    settings: dict[str, Any] = {}
    token = new_token()
    if guarded:
        file = tmp_path / "tokens.yml"
        row = Token(name="ann", sha256=digest_of(token), rate=100_000, burst=100_000)
        file.write_text(tokens.render((row,)))
        settings["gateway__tokens_file"] = file
    with live_cluster(tmp_path / "c", **settings) as cluster:
        for scope in (
            ("--exclude-path", ORIGINAL),
            ("--include-path", ORIGINAL, "--exclude-checks", "positive_data_acceptance"),
        ):
            command = [
                *(sys.executable, "-m", "schemathesis.cli", "run", "--no-color", "--checks", "all"),
                *("--phases", phases, "-n", "20" if THOROUGH else "3", "--seed", "1"),
                *("--max-response-time", str(PATIENCE_S)),
                *(("--header", f"Authorization: Bearer {token}") if guarded else ()),
                *(*scope, f"http://127.0.0.1:{cluster.http_port}/openapi.json"),
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, cwd=tmp_path, check=False
            )
            assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
