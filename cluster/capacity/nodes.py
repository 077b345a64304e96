"""Runs nodes of a measurement in one process until SIGTERM: `python -m cluster.capacity.nodes NODE.yml...`.

A file of a worker makes a stand-in of the crowd; any other a whole node but for its Java side. How many jobs
pass shows in the leader's metrics.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.python.failure import Failure

from cluster.capacity import WINDOW
from cluster.config import load
from cluster.identity import Role
from cluster.net import reactor as monotonic


def main(files: list[str]) -> None:
    """Start them all; one that fails ends them all."""
    reactor: Any = monotonic.install()
    # Klein installs a reactor when it is imported, so ours must be there first.
    from cluster.capacity.crowd import Crowd  # noqa: PLC0415
    from cluster.capacity.standin import StandInNode  # noqa: PLC0415

    configs = [load(Path(file)) for file in files]
    nodes = [
        (config, StandInNode(config, reactor)) for config in configs if config.me.role is not Role.WORKER
    ]
    workers = [config for config in configs if config.me.role is Role.WORKER]
    crowd = Crowd(workers, reactor) if workers else None

    def failed(failure: Failure) -> None:
        failure.printTraceback()
        reactor.stop()

    def begin() -> None:
        for config, node in nodes:
            node.start().addErrback(failed)
            if config.me.role is Role.GATEWAY:
                node.load(int(os.environ[WINDOW]))
        if crowd is not None:
            crowd.start()

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
