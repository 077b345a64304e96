"""One virtual machine as a process: its streams, its end, and what the host sees of it from outside."""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from cluster.java.bounds import bound, lower
from cluster.java.cgroup import Toll
from cluster.java.halfmade import end_holders
from cluster.java.place import Place
from cluster.java.sandbox import INFO
from cluster.java.view import MEMORY_PLACES

FILE_BYTES = 1536
"""What the kernel keeps of a file in memory beside its content: inode, entry, name of up to 255 bytes."""
_INFO_MAX = 4096
_SIGNAL_BASE = 128
_TICKS = os.sysconf("SC_CLK_TCK")
_SCHEDULED = 2
"""Which of a process's clocks: the scheduler's count, in nanoseconds, of every thread that it ever had."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Usage:
    """What a process has used; zeros where the host can't tell.

    Attributes:
        cpu_s: seconds of processor time, of all its threads.
        resident: bytes in memory now, with the kernel's tables of them.
        peak: the highest that ever was.
        data: bytes of private writable memory, which RLIMIT_DATA bounds.
    """

    cpu_s: float = 0.0
    resident: int = 0
    peak: int = 0
    data: int = 0


@attrs.frozen
class Ending:
    """How the process ended: exactly one of the two is not None."""

    exit_code: int | None
    signal: int | None

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it, as a kernel without memory does; bubblewrap adds 128 to its number."""
        return self.signal == signal.SIGKILL or self.exit_code == _SIGNAL_BASE + signal.SIGKILL


def files_in(pid: int) -> int:
    """How many files, directories and links a confined process's memory file systems hold; 0 if it is gone.

    No program changes what these paths mean: their parents are read-only to it, and nothing below is used.
    """
    held = 0
    for place in MEMORY_PLACES:
        try:
            system = os.statvfs(f"/proc/{pid}/root{place}")
        except OSError:
            continue
        held += system.f_files - system.f_ffree
    return held


def _kill_family(pid: int) -> None:
    """End a child process of ours and its own children; stopped first, it makes no more of them.

    Raises:
        ProcessLookupError: it is gone.
    """
    os.kill(pid, signal.SIGSTOP)
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def usage_of(pid: int) -> Usage | None:
    """Read `/proc`; None when the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    try:
        cpu = time.clock_gettime(~pid << 3 | _SCHEDULED)
    except OSError:
        cpu = (int(stat[11]) + int(stat[12])) / _TICKS
    kib = {
        name: int(value) * 1024
        for name, value in re.findall(rb"(?m)^(VmHWM|VmData|VmPTE):\s+(\d+) kB$", status)
    }
    resident = int(stat[21]) * _PAGE + kib.get(b"VmPTE", 0)
    return Usage(cpu, resident, kib.get(b"VmHWM", resident), kib.get(b"VmData", 0))


class Jvm(ProcessProtocol):
    """A virtual machine, confined or not.

    Args:
        confined: whether bubblewrap stands between, so that the machine's own number comes on descriptor 5.

    Attributes:
        pid: the machine's number on this host; 0 until it is known.
        on_data: called with descriptor and bytes, for all but descriptor 5.
        place: where it runs; set by whoever started it, in the same turn of the reactor.
        toll: what its control group had counted when it ended; None without one.
        complaint: why it could not be let in.
        ended: fires with an `Ending` when everything inside is dead and reaped.
    """

    def __init__(self, *, confined: bool) -> None:
        self._confined = confined
        self._info = b""
        self._pidfd = -1
        self.pid = 0
        self.alive = True
        self.on_data: Callable[[int, bytes], None] = lambda _fd, _data: None
        self.place: Place | None = None
        self.toll: Toll | None = None
        self.complaint = ""
        self._doomed = self._exited = self._info_over = False
        self.ended: Deferred[Ending] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802
        """Without bubblewrap the process is the machine itself."""
        if not self._confined:
            self._meet(self._process.pid or 0)

    @property
    def _process(self) -> IProcessTransport:
        transport: IProcessTransport = self.transport  # type: ignore[assignment]  # Twisted types it as ITransport
        return transport

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """Take the number from descriptor 5; pass on the rest."""
        if childFD != INFO:
            self.on_data(childFD, data)
            return
        self._info = (self._info + data)[:_INFO_MAX]
        if not self.pid and (found := re.search(rb'"child-pid": (\d{1,10})\b[^\d]', self._info)):
            self._meet(int(found[1]))

    def _meet(self, pid: int) -> None:
        self.pid = pid
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:
            self._pidfd = -1
        if self._doomed:
            self.kill()
        elif self.place is not None and self._confined:
            self._confine(self.place)

    def _confine(self, place: Place) -> None:
        """Let it start once its limits hold."""
        try:
            if place.limits is not None:
                bound(self.pid, place.limits)
        except ProcessLookupError:
            return  # what ended it is told by its end
        except OSError as error:
            self.complaint = f"can't limit it: {error}"
            self.kill()
            return
        if place.cell is None:
            place.open_gate()
        else:
            place.cell.admit(self.pid).addCallbacks(lambda _: place.open_gate(), self._refused)

    def _refused(self, failure: Failure) -> None:
        self.complaint = f"no control group for it: {failure.getErrorMessage()}"
        self.kill()

    def write(self, child_fd: int, data: bytes) -> None:
        """Send bytes to a descriptor; a reader that is gone loses them silently."""
        if self.alive and data:
            with contextlib.suppress(KeyError):  # Twisted's word for a pipe that broke
                self._process.writeToChild(child_fd, data)

    def gone(self) -> bool:
        """Whether it has ended, also where `ended` has yet to tell."""
        if not self.alive or self._pidfd < 0:
            return not self.alive
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self, child_fd: int) -> None:
        """End of file on one of the descriptors that we write, after what was written."""
        pipe = getattr(self.transport, "pipes", {}).get(child_fd)
        if pipe is not None:
            pipe.loseConnection()

    def bound_cpu(self, seconds: float) -> None:
        """Have the kernel end it when the watchdog could not: at that much processor time in all, rounded up.

        Where this node may not do that to another user's process, the wider bound of the start stays; so it
        does before bubblewrap has told the number, for to the kernel 0 is whoever asks: this node.
        """
        if not self.pid:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            lower(self.pid, "cpu", math.ceil(seconds) + 1)

    def usage(self) -> Usage | None:
        """What it has used until now."""
        return usage_of(self.pid) if self.pid and self.alive else None

    def file_bytes(self) -> int:
        """What the kernel keeps for its files, however empty; 0 where a control group counts it as memory."""
        celled = self.place is not None and self.place.cell is not None
        watched = self._confined and self.alive and self.pid and not celled
        return files_in(self.pid) * FILE_BYTES if watched else 0

    def cell_cpu_s(self) -> float:
        """Processor time that its control group counted until now; 0 without one."""
        cell = self.place.cell if self.place is not None else None
        return cell.cpu_s() if cell is not None else 0.0

    def kill(self) -> None:
        """End everything inside, at once: the machine is the first process of its namespace.

        Bubblewrap that has not told the machine's number yet may have made it already, and its death would
        leave that one waiting for ever: the number, which is but a moment away, is waited for. Who asks again
        gets bubblewrap killed with its children, of which the unborn machine is one.
        """
        if not self.alive:
            return
        try:
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            elif self.pid and self._confined:  # no descriptor was left for it
                os.kill(self.pid, signal.SIGKILL)
            elif not self._confined:
                self._process.signalProcess("KILL")
            elif not self._doomed:
                self._doomed = True
            elif number := self._process.pid:
                _kill_family(number)
        except (ProcessLookupError, ProcessExitedAlready):
            return

    def childConnectionLost(self, childFD: int) -> None:  # noqa: N802, N803
        """Nothing more comes on one of its descriptors."""
        if childFD == INFO:
            self._info_over = True
            self._end_orphan()

    def processExited(self, reason: Failure) -> None:  # noqa: N802, ARG002
        """Bubblewrap is gone. What it made goes with it, unless that was too young: then we end it."""
        self._exited = self._doomed = True
        if self._pidfd >= 0:
            self.kill()
        self._end_orphan()

    def _end_orphan(self) -> None:
        """A bubblewrap that died may have had a child that nobody has a hold of: it had yet to tell of it."""
        if self._confined and self._exited and self._info_over and self._pidfd < 0:
            pipes = getattr(self.transport, "pipes", {}).values()
            end_holders(pipe.fileno() for pipe in pipes)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """The process is reaped, and every descriptor is closed."""
        self.alive = False
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self.place is not None:
            self.toll = self.place.cell.toll() if self.place.cell is not None else None
            self.place.clean()
        status = reason.value
        if isinstance(status, ProcessDone | ProcessTerminated):
            self.ended.callback(Ending(status.exitCode, status.signal))
        else:
            self.ended.callback(Ending(None, signal.SIGKILL))
