"""The command that starts a virtual machine with nothing of the host in view (S1, S2), and its mode without.

Argument vectors only; the program's own bytes never reach one (J3). Descriptors of a sandboxed process:
0-2 are the program's, 3 brings its task, 4 carries what the launcher says, 5 tells the process's number on
the host.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from cluster.config import SandboxSettings
from cluster.errors import EnvironmentFault
from cluster.java import root, seccomp
from cluster.java.archive import succeeds
from cluster.java.bounds import NICE, as_arguments, give_way, may_bound_others, may_renice_others
from cluster.java.cells import Subtree
from cluster.java.flags import Allowance
from cluster.java.halfmade import end_abandoned
from cluster.java.jdk import Jdk
from cluster.java.kept import Kept, discard, locked
from cluster.java.launch import INSIDE_FILES, Launch
from cluster.java.place import Place
from cluster.java.view import DEVICES, ENVIRONMENT, INSIDE_PRLIMIT, MEMORY_PLACES, view
from cluster.limits import MIB

STDIN, STDOUT, STDERR, CONTROL, CHANNEL, INFO = range(6)
_SECCOMP = 6
GATE = 7
"""Bubblewrap waits for a byte on it, with everything in place but the virtual machine itself."""

NOBODY = 65534
"""Who a program is on the host when the node is root, whose processes no limit on their number binds."""

_TO_A_JOB = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""What a terminal, or a shell's `kill`, sends to every process of a job."""

LOOK_S = 1.0
"""Between two looks whether the host's files are still those that copies were made of."""


@attrs.frozen
class SandboxReport:
    """What protects this host from the programs (S4).

    Attributes:
        level: short, for status and metrics, such as `bubblewrap+seccomp`.
        text: one line for people.
    """

    level: str
    namespaces: bool
    seccomp: bool
    cgroup2: bool
    text: str


class ProcessReactor(IReactorProcess, IReactorTime):
    """What starts processes and has a clock."""


class Sandbox:
    """Starts virtual machines, confined as the settings and the machine allow.

    Args:
        jar: the harness, where whoever starts bubblewrap can read it; released with the rest.
        state_directory: holds the private directories that mode `none` needs, and nothing else.
        subtree: the control group that this node may divide; None where it has none.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ProcessReactor,
        settings: SandboxSettings,
        jdk: Jdk,
        jar: Kept,
        state_directory: Path,
        subtree: Subtree | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._jdk = jdk
        self._directory = state_directory
        self.confined = settings.mode == "bubblewrap"
        self._jar = jar.path
        self._launch = Launch(jdk, jar.path, confined=self.confined)
        self._root: Kept | None = None
        self._held = [jar]
        self._looked = -LOOK_S
        self._subtree = subtree if self.confined else None
        self._bwrap = ""
        self._drops = os.geteuid() == 0
        self._filter = b""
        if self.confined:
            self._bwrap = _found(settings.bwrap, "bubblewrap")
        self._niced = self._drops and not may_renice_others()
        self._limited = self._drops and not may_bound_others()
        self._gated = self._subtree is not None or not self._niced
        if self.confined:
            try:
                self._filter = seccomp.filter_program()
            except OSError as error:
                if "seccomp" in settings.require:
                    raise EnvironmentFault(
                        f"sandbox.require lists seccomp, and libseccomp can't build the filter ({error}): "
                        "apt-get install libseccomp2"
                    ) from error

    @property
    def filtered(self) -> bool:
        """Whether system calls are filtered."""
        return bool(self._filter)

    def command(self, java: Sequence[str], allowance: Allowance, *, boot: bool) -> list[str]:
        """The whole argument vector of a confined virtual machine.

        Args:
            java: the virtual machine's flags, then its main class and what follows.
            allowance: the size of its `/tmp`; limits only where this node may not set them from outside.
            boot: a program's, not the compiler's (`Launch`).
        """
        nice = [_found("nice"), f"-n{NICE}"] if self._niced else []
        inside = [INSIDE_PRLIMIT, *as_arguments(self._limits(allowance))] if self._limited else []
        return [
            *self._drop(),
            *nice,
            self._bwrap,
            *view(
                self._jdk,
                self._prlimit(),
                allowance.tmp_bytes,
                self._launch.shown(boot=boot),
                self._root.path if self._root else None,
            ),
            "--info-fd",
            str(INFO),
            *(("--seccomp", str(_SECCOMP)) if self._filter else ()),
            *(("--block-fd", str(GATE)) if self._gated else ()),
            "--",
            *inside,
            str(self._jdk.java),
            *self._launch.class_path(boot=boot),
            *java,
        ]

    def _drop(self) -> list[str]:
        """What makes a process of root's one of nobody's."""
        if not self._drops:
            return []
        return [_found("setpriv", "util-linux"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def _limits(self, allowance: Allowance) -> dict[str, int]:
        """Those that no control group keeps."""
        return allowance.always | ({} if self._subtree is not None else allowance.alone)

    def _prlimit(self) -> Path | None:
        """The program that sets them inside, where it is needed."""
        return Path(_found("prlimit", "util-linux")) if self._limited else None

    def prepare(self) -> bool:
        """Make or find what machines start from; whether there is an archive (`Launch.prepare`).

        What killed nodes left half made goes: they held the same directory's files (`halfmade`).
        """
        if self.confined:
            if ended := end_abandoned(self._jar.parent):
                self._log.info("ended {ended} half-made sandboxes of nodes that were killed", ended=ended)
            with suppress(OSError), locked(self._jar.parent):
                self._root = self._rooted() or self._rooted()
        return self._launch.prepare(self._bwrap)

    def _rooted(self) -> Kept | None:
        """A root from which a virtual machine starts; one from which none does goes, if nobody has it.

        A power cut may have damaged it, or its file system may forbid to execute what lies there.
        """
        prlimit = self._prlimit()
        files = (*(f"/dev/{name}" for name in DEVICES), *INSIDE_FILES)
        copies = {prlimit: INSIDE_PRLIMIT} if prlimit else {}
        found = root.prepare(self._jdk, copies, MEMORY_PLACES, files, self._jar.parent)
        if found is None:
            return None
        argv = [*self._drop(), self._bwrap, *view(self._jdk, prlimit, MIB, {}, found.path), "--"]
        argv += [INSIDE_PRLIMIT] if prlimit else []
        if succeeds([*argv, str(self._jdk.java), "-XX:+UseSerialGC", "-version"]):
            self._held.append(found)
            return found
        found.release()
        discard(found.path)
        return None

    def _look(self) -> None:
        """An update of the host under a running node: the copies are of what was there before.

        Machines that were started have the root still, so that it stays. To ask for each start, of a hundred
        files, would take half a millisecond of every program.
        """
        now = self._reactor.seconds()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if self._root and not self._root.fits():
            self._root = None
        self._launch.look()

    def release(self) -> None:
        """Nothing is started any more, and nothing runs."""
        self._root = None
        for kept in self._held:
            kept.release()
        self._launch.release()

    def spawn(
        self,
        protocol: ProcessProtocol,
        java: Sequence[str],
        allowance: Allowance,
        *,
        boot: bool,
    ) -> Place:
        """Start one; see `command`.

        Raises:
            OSError: no process can be made now.
        """
        children: dict[int, int | str] = {
            STDIN: "w",
            STDOUT: "r",
            STDERR: "r",
            CONTROL: "w",
            CHANNEL: "r",
        }
        if not self.confined:
            return self._spawn_bare(protocol, java, allowance, children, boot=boot)
        self._look()
        argv = self.command(java, allowance, boot=boot)
        place = self._place(allowance)
        held: list[int] = []
        try:
            children[INFO] = "r"
            if self._gated:
                waits, place.gate = os.pipe()
                held.append(waits)
                children[GATE] = waits
            if self._filter:
                held.append(_memory_file(self._filter))
                children[_SECCOMP] = held[-1]
            with _deaf_to_terminals():  # no environment, of which each program would read its language
                started = self._reactor.spawnProcess(protocol, argv[0], argv, env={}, childFDs=children)
            if not self._niced and started.pid:  # without a number it is gone already, and buried
                with suppress(OSError):  # it is gone, which is told by its end
                    give_way(started.pid)
        except BaseException:
            place.clean()
            raise
        finally:
            for descriptor in held:
                os.close(descriptor)
        return place

    def _place(self, allowance: Allowance) -> Place:
        """For one that is about to be started."""
        outside = {} if self._limited else self._limits(allowance)
        place = Place(limits=None if self._niced else outside)
        if self._subtree is not None:
            place.cell = self._subtree.cell(allowance.kind, allowance.cell)
        place.clean = partial(self._leave, place)
        return place

    def _leave(self, place: Place) -> None:
        place.leave_gate()
        if self._subtree is not None and place.cell is not None:
            self._subtree.give_up(place.cell)

    def settled(self) -> Deferred[Any]:
        """Fires when nothing of the dead is left."""
        return self._subtree.settled() if self._subtree is not None else succeed(None)

    def _spawn_bare(
        self,
        protocol: ProcessProtocol,
        java: Sequence[str],
        allowance: Allowance,
        children: dict[int, int | str],
        *,
        boot: bool,
    ) -> Place:
        """Mode `none`: a private empty directory, and the limits but that on processes."""
        directory = tempfile.mkdtemp(prefix="run-", dir=self._directory)
        limits = allowance.always | allowance.alone
        del limits["nproc"]  # without a user namespace it would count all of the user's
        argv = [
            _found("setsid", "util-linux"),
            _found("nice"),
            f"-n{NICE}",
            _found("env"),
            f"--chdir={directory}",
            _found("prlimit", "util-linux"),
            *as_arguments(limits),
            str(self._jdk.java),
            *self._launch.class_path(boot=boot, classes=directory),
            *java,
        ]
        try:
            self._reactor.spawnProcess(protocol, argv[0], argv, env=ENVIRONMENT, childFDs=children)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return Place(lambda: shutil.rmtree(directory, ignore_errors=True))

    def report(self, version: str, no_cells: str = "") -> SandboxReport:
        """The words for what a first run proves.

        Args:
            version: the JDK's.
            no_cells: why there are no control groups.

        Raises:
            EnvironmentFault: the settings require more than there is.
        """
        celled = self._subtree is not None
        works = {"namespaces": self.confined, "seccomp": self.filtered, "cgroup2": celled}
        missing = [name for name in self._settings.require if not works[name]]
        if missing and self.confined:
            why = f" ({no_cells})" if "cgroup2" in missing and no_cells else ""
            raise EnvironmentFault(
                f"sandbox.require lists {', '.join(missing)}, which does not work here{why}; "
                "provide it, or take it off the list"
            )
        level = "none"
        if self.confined:
            level = "bubblewrap" + "+seccomp" * self.filtered + "+cgroup2" * celled
        bounded = "control groups" if celled else "rlimits"
        text = f"sandbox: {level}, {bounded} and watchdog, JDK {version}"
        if not self.confined:
            text = (
                f"SANDBOX OFF: programs run with this node's own rights (sandbox.mode: none), JDK {version}"
            )
        return SandboxReport(level, self.confined, self.filtered, cgroup2=celled, text=text)


@contextmanager
def _deaf_to_terminals() -> Iterator[None]:
    """What is started meanwhile does not get the signals that a terminal, or a shell, sends to all of a job.

    They are for the node, which lets its programs finish. A session of their own would do as well, but only
    by one more program that is started for every program that is run. The JVM unblocks these three.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_A_JOB)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("filter")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@cache
def _found(program: str, package: str = "") -> str:
    """Where a program of the host is.

    Raises:
        EnvironmentFault: nowhere; the text names the package that has it.
    """
    path = shutil.which(program)
    if path is None:
        package = package or {"setpriv": "util-linux", "prlimit": "util-linux"}.get(program, "coreutils")
        raise EnvironmentFault(f"{program} not found: apt-get install {package}")
    return path
