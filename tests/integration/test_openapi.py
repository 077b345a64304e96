"""The interface does what its own description says: H6, by schemathesis against a live cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.live import live_cluster

pytestmark = pytest.mark.integration

THOROUGH = bool(os.environ.get("JAVACLUSTER_BROWSER"))
"""Every phase, as in continuous integration; else a look that takes seconds."""
LIMIT_S = 900 if THOROUGH else 300

# Any text is a valid body there, and most texts are no Java: by the original's rules that is a 400.
ORIGINAL = "/compileandrun"


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """H6."""
    phases = "examples,coverage,fuzzing,stateful" if THOROUGH else "fuzzing,stateful"
    with live_cluster(tmp_path / "c") as cluster:
        for scope in (
            ("--exclude-path", ORIGINAL),
            ("--include-path", ORIGINAL, "--exclude-checks", "positive_data_acceptance"),
        ):
            command = [
                *(sys.executable, "-m", "schemathesis.cli", "run", "--no-color", "--checks", "all"),
                *("--phases", phases, "-n", "20" if THOROUGH else "3", "--seed", "1"),
                *(*scope, f"http://127.0.0.1:{cluster.http_port}/openapi.json"),
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, cwd=tmp_path, check=False
            )
            assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
