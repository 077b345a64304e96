"""Flags, the kernel's limits and the sandbox's arguments: computed, never pasted together (J6, S1, S3)."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock

from cluster.config import SandboxSettings
from cluster.java.flags import budget, compiler_allowance, compiler_flags, program_allowance, program_flags
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


@pytest.mark.parametrize("flags", [program_flags(Limits()), compiler_flags(512 * MIB)])
def test_a_machine_leaves_no_file_and_has_the_size_it_is_told(
    flags: tuple[str, ...],
) -> None:
    """J6: no attach, no performance data, no dump; what it may use is what its limits say."""
    assert {
        "-XX:+DisableAttachMechanism",
        "-XX:-UsePerfData",
        "-XX:ErrorFile=/dev/null",
        "-XX:-UseContainerSupport",
        "-XX:ActiveProcessorCount=1",
    } <= set(flags)


def test_a_thread_has_the_stack_that_plain_java_gives_it() -> None:
    """P4, J6: on every processor, also where the JDK's own default is another."""
    assert f"-Xss{MIB}" in program_flags(Limits())


@pytest.mark.parametrize(
    ("memory", "classes", "code"),
    [
        (1, 16, 16),
        (32, 16, 16),
        (128, 16, 16),
        (256, 32, 32),
        (512, 64, 64),
        (1024, 128, 64),
        (4096, 256, 64),
    ],
)
def test_classes_and_machine_code_have_their_parts_of_the_memory(
    memory: int, classes: int, code: int
) -> None:
    """J6, M17: an eighth, neither less than a virtual machine starts with nor more than one needs."""
    flags = program_flags(Limits(memory_bytes=memory * MIB))
    told = [flag for flag in flags if "Metaspace" in flag or "ClassSpace" in flag or "CodeCache" in flag]
    assert sorted(told) == [
        f"-XX:CompressedClassSpaceSize={classes * MIB}",
        f"-XX:MaxMetaspaceSize={classes * MIB}",
        f"-XX:ReservedCodeCacheSize={code * MIB}",
    ]


@pytest.mark.parametrize(("memory", "classes"), [(64, 64), (512, 128), (1024, 256)])
def test_the_compilers_parts_follow_its_memory(memory: int, classes: int) -> None:
    """J1, J6: and where they are used up it ends, and says so by its status."""
    flags = compiler_flags(memory * MIB)
    assert "-XX:+ExitOnOutOfMemoryError" in flags
    assert f"-XX:MaxMetaspaceSize={classes * MIB}" in flags
    assert "-XX:ReservedCodeCacheSize=64m" in flags


@pytest.mark.parametrize(("tmp", "file"), [(1, 64), (64, 64), (200, 200)])
def test_one_file_may_fill_what_there_is_to_write_to(tmp: int, file: int) -> None:
    """S3: and never less than the archive of a small program's classes takes."""
    assert program_allowance(Limits(tmp_bytes=tmp * MIB)).always["fsize"] == file * MIB
    assert compiler_allowance(512 * MIB).always["fsize"] == 64 * MIB


def test_the_kernel_bounds_threads_files_and_memory() -> None:
    allowance = program_allowance(Limits(processes=64, cpu_s=4.2))
    bounds = allowance.always | allowance.alone
    assert bounds["nproc"] == 88
    assert bounds["core"] == 0
    assert bounds["nofile"] == compiler_allowance(512 * MIB).always["nofile"] == 512
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


class Starts(Clock):
    """A reactor that remembers what it was to start, or starts nothing."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.refuses = refuses
        self.argv: list[str] = []

    def spawnProcess(self, _protocol: object, _program: str, argv: list[str], **_how: object) -> object:  # noqa: N802
        if self.refuses:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self.argv = argv
        return SimpleNamespace(pid=4_190_000)


def sandbox_on(reactor: Starts, directory: Path, mode: str = "bubblewrap") -> Sandbox:
    """One that starts its processes there."""
    (directory / "jar").touch()
    settings = SandboxSettings(mode=mode, bwrap="/bin/true")
    return Sandbox(reactor, settings, KIT, Kept(directory / "jar"), directory)  # type: ignore[arg-type]


def test_a_process_that_can_not_be_made_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decision 9: a host that refuses processes is asked again and again."""
    monkeypatch.setattr("cluster.java.sandbox.may_renice_others", lambda: True)
    sandbox = sandbox_on(Starts(refuses=True), tmp_path)
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            sandbox.spawn(ProcessProtocol(), ("-version",), program_allowance(Limits()), boot=False)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_bubblewrap_itself_gives_way_to_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W12: what it mounts for a program takes processor time too."""
    lowered = list[int]()
    monkeypatch.setattr("cluster.java.sandbox.may_renice_others", lambda: True)
    monkeypatch.setattr("cluster.java.sandbox.give_way", lowered.append)
    sandbox = sandbox_on(Starts(), tmp_path)
    sandbox.spawn(ProcessProtocol(), ("-version",), program_allowance(Limits()), boot=False).clean()
    assert lowered == [4_190_000]


def test_without_namespaces_no_bound_counts_the_users_other_processes(tmp_path: Path) -> None:
    """S3, S4: a program would start no thread on a host where the user has some; the other bounds hold."""
    reactor = Starts()
    place = sandbox_on(reactor, tmp_path, "none").spawn(
        ProcessProtocol(), ("-version",), program_allowance(Limits()), boot=False
    )
    place.clean()
    bounds = {word.partition("=")[0] for word in reactor.argv}
    assert {"--cpu", "--nofile", "--fsize", "--core", "--data"} <= bounds
    assert "--nproc" not in bounds
    assert [path.name for path in tmp_path.iterdir()] == ["jar"]
