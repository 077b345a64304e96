"""The node's clock never follows a step of the wall clock."""

from __future__ import annotations

import subprocess
import sys
import time

from twisted.internet.task import Clock

from cluster.net import reactor

SCRIPT = """
import time
from cluster.net.reactor import install, now, monotonic_seconds
made = install()
wall = time.time
time.time = lambda: wall() + 1e6
from twisted.internet import reactor
assert reactor is made
assert abs(now(reactor) - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
fired = []
reactor.callLater(0.01, fired.append, 1)
reactor.callLater(1000, fired.append, 2)
reactor.callLater(0.02, reactor.stop)
reactor.run()
assert fired == [1], fired
import klein
print("timers run by the node's clock")
"""


def test_the_reactors_timers_run_by_the_nodes_clock() -> None:
    """In a process of its own, with a wall clock that is days ahead."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "timers run by the node's clock\n", done.stderr


def test_the_clock_counts_time_spent_suspended() -> None:
    assert reactor.CLOCK == time.CLOCK_BOOTTIME
    assert reactor.monotonic_seconds() <= reactor.monotonic_seconds()


def test_now_is_the_reactors_clock() -> None:
    clock = Clock()
    clock.advance(3)
    assert reactor.now(clock) == 3.0
