"""Flags, the kernel's limits and the sandbox's arguments: computed, never pasted together (J6, S1, S3)."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock

from cluster.config import SandboxSettings
from cluster.java.flags import budget, compiler_flags, program_allowance, program_flags
from cluster.java.jdk import Jdk
from cluster.java.kept import Kept
from cluster.java.sandbox import Sandbox
from cluster.java.view import view
from cluster.limits import MIB, Limits, bounded

KIT = Jdk(Path("/opt/jdk"), "17.0.1", (Path("/lib/libc.so.6"), Path("/etc/java-17-openjdk")))


@given(st.integers(1, 64 * 1024 * MIB))
def test_the_parts_of_the_memory_are_positive_and_the_heap_is_most(memory: int) -> None:
    parts = budget(memory)
    assert min(parts.heap, parts.metaspace, parts.direct, parts.code) >= MIB
    assert parts.heap <= max(memory, 32 * MIB) * 3 // 4


def test_flags_follow_the_limits() -> None:
    flags = program_flags(Limits(memory_bytes=256 * MIB))
    assert f"-Xmx{192 * MIB}" in flags
    assert f"-XX:MaxDirectMemorySize={32 * MIB}" in flags
    assert "-XX:+DisableAttachMechanism" in flags
    assert "-XX:ActiveProcessorCount=1" in flags
    assert all(flag.startswith("-") for flag in (*flags, *compiler_flags(512 * MIB)))


def test_the_kernel_bounds_threads_files_and_memory() -> None:
    allowance = program_allowance(Limits(processes=64, cpu_s=4.2))
    bounds = allowance.always | allowance.alone
    assert bounds["nproc"] == 88
    assert bounds["core"] == 0
    assert bounds["data"] > 256 * MIB
    assert bounds["cpu"] >= 5


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_a_limit_that_is_none_becomes_the_cap(bad: float) -> None:
    """Never unlimited."""
    limits = bounded(Limits(wall_s=bad, cpu_s=bad), Limits(wall_s=10, cpu_s=5))
    assert (limits.wall_s, limits.cpu_s) == (10, 5)


def test_a_smaller_limit_is_kept() -> None:
    assert bounded(Limits(memory_bytes=64 * MIB), Limits()).memory_bytes == 64 * MIB


def test_the_sandbox_shows_the_jdk_read_only_and_nothing_else_of_the_host() -> None:
    """S1."""
    argv = view(KIT, None, 64 * MIB, {"/state/harness.jar": "/run/harness.jar"})
    for flag in ("--unshare-all", "--die-with-parent", "--new-session", "--clearenv"):
        assert flag in argv
    assert argv[argv.index("--cap-drop") + 1] == "ALL"
    shown = {argv[at + 1] for at, word in enumerate(argv) if word == "--ro-bind"}
    assert shown == {
        "/opt/jdk",
        "/lib/libc.so.6",
        "/etc/java-17-openjdk",
        "/state/harness.jar",
    }
    assert not {"--bind", "--proc", "--dev", "--share-net", "--ro-bind-try"} & set(argv)
    sizes = [argv[at + 1] for at, word in enumerate(argv) if word == "--size"]
    assert len(sizes) == argv.count("--tmpfs")
    assert str(64 * MIB) in sizes
    assert argv[argv.index("--remount-ro") + 1] == "/"


def test_a_prepared_root_takes_the_place_of_what_it_has() -> None:
    """S1, J2: nothing more is mounted than without one."""
    bound = view(KIT, None, 64 * MIB, {"/state/image": "/opt/jdk/lib/modules"})
    rooted = view(KIT, None, 64 * MIB, {"/state/image": "/opt/jdk/lib/modules"}, Path("/state/root"))
    assert rooted[rooted.index("--ro-bind") + 1 : rooted.index("--ro-bind") + 3] == ["/state/root", "/"]
    mounts = ("--ro-bind", "--dev-bind", "--tmpfs")
    more = {rooted[at + 1] for at, word in enumerate(rooted) if word in mounts}
    assert more - {bound[at + 1] for at, word in enumerate(bound) if word in mounts} == {"/state/root"}
    assert len(rooted) < len(bound)


def test_mode_none_is_loud(tmp_path: Path) -> None:
    """S4."""
    settings = SandboxSettings(mode="none")
    (tmp_path / "jar").touch()
    report = Sandbox(None, settings, KIT, Kept(tmp_path / "jar"), tmp_path).report("17")  # type: ignore[arg-type]  # spawns nothing
    assert (report.level, report.namespaces, report.seccomp) == ("none", False, False)
    assert "SANDBOX OFF" in report.text


def test_a_machine_that_is_gone_before_it_is_looked_at_is_told_by_its_end(tmp_path: Path) -> None:
    """W12: nothing has a priority then; on a busy host a start that fails may be buried at once."""

    class Buries(Clock):
        """A reactor whose processes have ended, and been waited for, before their start returns."""

        def spawnProcess(self, *_what: object, **_how: object) -> SimpleNamespace:  # noqa: N802
            return SimpleNamespace(pid=None)

    (tmp_path / "jar").touch()
    settings = SandboxSettings(bwrap="/bin/true")
    sandbox = Sandbox(Buries(), settings, KIT, Kept(tmp_path / "jar"), tmp_path)  # type: ignore[arg-type]
    place = sandbox.spawn(ProcessProtocol(), ("-version",), program_allowance(Limits()), boot=False)
    place.clean()
