"""Finding a JDK and what it needs of the host (S1)."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import EnvironmentFault
from cluster.java import jdk


class Host:
    """Runs programs, but refuses the first `refusals` of those that ask for `about`."""

    def __init__(self, about: str, refusals: int) -> None:
        self.about = about
        self.refusals = refusals
        self.run = subprocess.run

    def __call__(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        if self.about in argv[-1] and self.refusals:
            self.refusals -= 1
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return self.run(argv, **options)


def test_a_host_that_refuses_a_process_for_a_moment_loses_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = jdk.find("")
    monkeypatch.setattr(subprocess, "run", Host("prlimit", refusals=2))
    assert jdk.find("") == whole


def test_a_host_that_can_run_nothing_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Host("prlimit", refusals=1000))
    with pytest.raises(EnvironmentFault, match=r"can't run .*prlimit: .*temporarily unavailable"):
        jdk.find("")


def test_a_loader_that_never_ends_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        raise subprocess.TimeoutExpired(argv, 20.0)

    monkeypatch.setattr(subprocess, "run", never)
    with pytest.raises(EnvironmentFault, match="did not end within 20 s"):
        jdk.find("")


def test_the_view_holds_the_libraries_of_what_starts_the_virtual_machine() -> None:
    """That is prlimit: which libraries it has differs between distributions, and its own loader knows."""
    program = shutil.which("prlimit")
    assert program is not None
    said = subprocess.run(
        [program], env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True, check=True
    ).stdout
    libraries = {Path(word) for word in said.split() if word.startswith("/")}
    assert libraries
    assert libraries <= set(jdk.find("").view)


def test_a_directory_without_a_jdk_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="apt-get install"):
        jdk.find(str(tmp_path))
