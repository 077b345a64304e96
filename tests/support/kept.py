"""What nodes keep for their next start (J2), lent to a test that is not about its making."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cluster.java.harness import SHARED
from cluster.java.kept import locked


def lend(directory: Path) -> Path:
    """Copy what nodes of this host have kept so far to where one of the test looks; it makes the rest."""
    if os.access(SHARED, os.W_OK):
        with locked(SHARED):
            shutil.copytree(SHARED, directory, symlinks=True)
    return directory
