"""A real bubblewrap in the moment between making its child and telling anybody of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from cluster.java.sandbox import STDOUT

PATIENCE_S = 10


class HalfMade:
    """One that can't go on, as nobody reads the number that it has to tell.

    Args:
        directory: something that lies there is in its arguments, as in those of a node's.

    Attributes:
        outer: the bubblewrap.
        pid: its child, which waits for it.
    """

    def __init__(self, directory: Path) -> None:
        info, full = os.pipe()
        os.set_blocking(full, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, bytes(4096))
        os.set_blocking(full, True)
        argv = ["bwrap", "--unshare-all", "--die-with-parent", "--info-fd", str(full), "--dev-bind", "/", "/"]
        argv += ["--setenv", "from", f"{directory}/harness.jar"]
        self.outer = subprocess.Popen([*argv, "sleep", "60"], stdout=subprocess.PIPE, pass_fds=[full])
        os.close(full)
        self._info = info
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        deadline = time.monotonic() + PATIENCE_S  # noqa: TID251  (a test that waits for a real process)
        while not children.read_bytes():
            assert time.monotonic() < deadline  # noqa: TID251
            time.sleep(0.001)
        self.pid = int(children.read_bytes())
        self.pipes = {STDOUT: self.outer.stdout}

    def kill_bubblewrap(self) -> None:
        """As the end of its node does."""
        self.outer.kill()
        self.outer.wait(PATIENCE_S)

    def alive(self) -> bool:
        """Whether the child still waits."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_bytes()
        except OSError:
            return False
        return stat.rpartition(b") ")[2][:1] != b"Z"

    def gone(self) -> bool:
        """Whether the child ends, which may take a moment."""
        deadline = time.monotonic() + PATIENCE_S  # noqa: TID251
        while self.alive() and time.monotonic() < deadline:  # noqa: TID251
            time.sleep(0.001)
        return not self.alive()

    def end(self) -> None:
        """Nothing of it stays."""
        os.close(self._info)
        self.kill_bubblewrap()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if self.outer.stdout is not None:
            self.outer.stdout.close()
