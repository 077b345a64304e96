"""A weaker sandbox makes named rows fail: the suite would see it.

What weakens it stands where bubblewrap does, or changes a function in the node's own process, so that nothing
in the product can be switched off for a test.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.bench.usage import tree
from cluster.wire.jobs import Run, Verdict
from tests.hostile.catalogue import ROWS, holds
from tests.hostile.conftest import HELLO
from tests.hostile.rest import PROGRAMS, Adopting, host, more_than_rest
from tests.hostile.test_programs import heard_of_locks, reached
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class
from tests.support.kept import lend

_WRAPPER = """#!/bin/sh
drop=
for word; do
  shift
  if [ -n "$drop" ]; then drop=; continue; fi
  case $word in
    {cases}
    *) set -- "$@" "$word" ;;
  esac
done
exec {bwrap} "$@"
"""

NETWORK = '--unshare-all) set -- "$@" --unshare-all --share-net ;;'
SECCOMP = "--seccomp) drop=1 ;;"
PROCESSES = "--nproc=*) ;;"
FILES = '--chdir) set -- "$@" --ro-bind /etc /etc --chdir ;;'
_UNBOUND = """
import runpy, sys
from cluster.java import bounds, jvm
lower = bounds.lower
bounds.lower = lambda pid, name, most: name == "nproc" or lower(pid, name, most)
sys.argv[1:] = sys.argv[4:]  # python -m module
runpy.run_module("cluster.bench.alone", run_name="__main__", alter_sys=True)
"""
"""A node that sets no limit on the number of processes, whether from outside or (`PROCESSES`) inside."""

_TALKATIVE = """
import runpy, sys
from cluster.java import oneshot
take = oneshot._Stream.take
oneshot._Stream.take = lambda self, data, limit: take(self, data, 3 * limit)
sys.argv[1:] = sys.argv[4:]  # python -m module
runpy.run_module("cluster.bench.alone", run_name="__main__", alter_sys=True)
"""
"""A node that keeps three times the output."""

_LITTERING = """
import os, runpy, sys
from cluster.java import sandbox
spawn = sandbox.Sandbox.spawn
def spawn_and_leave(self, *what, **how):
    if os.fork() == 0:
        with open(os.devnull, "r+") as none:
            for fd in range(3):
                os.dup2(none.fileno(), fd)
        if os.fork() == 0:
            os.setsid()
            os.execv("BWRAP", ["bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--as-pid-1", "sleep", "60"])
        os._exit(0)
    return spawn(self, *what, **how)
sandbox.Sandbox.spawn = spawn_and_leave
sys.argv[1:] = sys.argv[4:]  # python -m module
runpy.run_module("cluster.bench.alone", run_name="__main__", alter_sys=True)
""".replace("BWRAP", shutil.which("bwrap") or "")
"""A node that leaves a bubblewrap with each start."""

COMPILER_AND_WAITING = 2


@contextmanager
def weakened(cases: str, driver_type: type[JavaDriver] = JavaDriver) -> Iterator[JavaDriver]:
    """A node whose bubblewrap is told something else."""
    with tempfile.TemporaryDirectory(prefix="javacluster-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        wrapper = directory / "bwrap"
        wrapper.write_text(_WRAPPER.format(cases=cases, bwrap=shutil.which("bwrap")))
        wrapper.chmod(0o755)
        kept = {"cache_directory": str(lend(directory / "kept"))}
        driver = driver_type(directory / "state", slots=1, sandbox={"bwrap": str(wrapper)}, java=kept)
        try:
            assert driver.start.started, driver.start.text
            yield driver
        finally:
            driver.stop()


class Unbound(JavaDriver):
    """`_UNBOUND`."""

    prefix = (sys.executable, "-c", _UNBOUND)


class Talkative(JavaDriver):
    """`_TALKATIVE`."""

    prefix = (sys.executable, "-c", _TALKATIVE)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("cases", "driver_type", "rows"),
    [
        (SECCOMP, JavaDriver, {"P1c", "N3"}),
        (PROCESSES, Unbound, {"P2b"}),
        (FILES, JavaDriver, {"F8a"}),
        ("", Talkative, {"O2a"}),
    ],
    ids=["seccomp", "processes", "files", "output"],
)
def test_a_weaker_sandbox_fails_these_rows(cases: str, driver_type: type[JavaDriver], rows: set[str]) -> None:
    with weakened(cases, driver_type) as driver:
        failed = {
            row.id
            for row in ROWS
            if row.id in rows | {"T1"} and not holds(row, driver.run(row.text, row.given, **row.limits))
        }
    assert failed == rows


def _reach(driver: JavaDriver, port: int) -> Run:
    return driver.run(main_class(f'new Socket("127.0.0.1", {port}).close(); System.out.print("reached");'))


@pytest.mark.exhaustive
def test_a_network_of_the_hosts_is_seen(java: JavaDriver) -> None:
    """N2, with a port of the host that does answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert _reach(java, port).stdout == b""
        with weakened(NETWORK) as driver:
            assert _reach(driver, port).stdout == b"", "the filter allows no socket"
        with weakened(f"{NETWORK}\n    {SECCOMP}") as driver:
            assert _reach(driver, port).stdout == b"reached"


def _shared(driver: JavaDriver) -> set[str]:
    """Kinds of namespaces that some virtual machine has in common with the host."""
    found = set()
    for pid in driver.machines():
        for kind in ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup"):
            if Path(f"/proc/{pid}/ns/{kind}").readlink() == Path(f"/proc/self/ns/{kind}").readlink():
                found.add(kind)
    return found


def test_every_virtual_machine_has_namespaces_of_its_own_the_compiler_too(java: JavaDriver) -> None:
    """S1, J1."""
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while len(java.machines()) < COMPILER_AND_WAITING:
        assert time.monotonic() < deadline  # noqa: TID251
        time.sleep(0.02)
    assert _shared(java) == set()


@pytest.mark.exhaustive
def test_a_compiler_among_the_hosts_is_seen() -> None:
    """J1: only the compiler's vector has no boot class path."""
    spared = (
        '--unshare-all) case "$*" in *internal.Compiler*) '
        'set -- "$@" --unshare-user --unshare-pid --unshare-uts ;; *) set -- "$@" --unshare-all ;; esac ;;'
    )
    with weakened(spared) as driver:
        assert {"net", "ipc"} <= _shared(driver)


class Littering(Adopting):
    """`_LITTERING`."""

    prefix = (sys.executable, "-c", _LITTERING)


def test_what_a_node_leaves_below_it_is_seen() -> None:
    """S5: what stays is no child of the node's, nor a virtual machine, and not in its process group."""
    with weakened("", Littering) as driver:
        assert driver.run(HELLO).value == b"hello"
        left = more_than_rest(driver, patience_s=1.0)
        for process in tree([driver.pid]):
            if process.name == "sleep":
                os.kill(process.pid, signal.SIGKILL)
        assert left["sleep"] == left["bwrap"] > 0
        assert more_than_rest(driver) == Counter()


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])  # noqa: S108  (the host's own)
def test_what_a_program_leaves_on_the_host_is_seen(tmp_path: Path, place: str) -> None:
    """S5, F2."""
    with weakened(f'--chdir) set -- "$@" --bind {place} {place} --chdir ;;') as driver:
        before = host(driver, tmp_path)
        left = Path(place) / f"mark-{tmp_path.name}-{os.getpid()}"
        run = driver.run(main_class(f'Files.writeString(Path.of("{left}"), "x");'))
        after = host(driver, tmp_path)
        left.unlink()
        assert run.verdict is Verdict.OK, run
        assert {name for name in after if after[name] != before[name]} == {"programs"}


@pytest.mark.exhaustive
def test_a_lock_on_a_file_that_programs_may_write_is_heard(tmp_path: Path) -> None:
    """F10."""
    place = "/dev/shm"  # noqa: S108  (the host's own)
    with weakened(f'--chdir) set -- "$@" --bind {place} {place} --chdir ;;') as driver:
        shared = Path(place) / f"mark-{tmp_path.name}-{os.getpid()}"
        shared.touch()
        os.chown(shared, PROGRAMS, -1)
        heard = heard_of_locks(driver, str(shared)).split("|")
        shared.unlink()
    assert {"rwfalse-1", "rwfalse0"} <= set(heard), heard


@pytest.mark.exhaustive
def test_a_machine_among_the_hosts_processes_reaches_others() -> None:
    """P9: the compiler is asked for a dump of its threads, which is all that comes of it."""
    spared = '--unshare-all) set -- "$@" --unshare-user --unshare-net --unshare-uts ;;\n    --as-pid-1) ;;'
    with weakened(spared) as driver:
        assert "No such process" not in reached(driver)
