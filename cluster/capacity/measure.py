"""Measures no-op jobs through one leader: how many a second, and the processor time of each role a job."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cluster import client, provision
from cluster.capacity import WINDOW
from cluster.config import load
from cluster.errors import ClusterError, RemoteProtocolError, Unavailable
from cluster.processes import Port, Process, require_free, spawn, stop, wait_until

HOST = "127.0.0.1"
GATEWAY, LEADER = 0, 1

READY_S = 60.0
STOP_S = 10.0
WARM_UP_S = 2.0
"""Before counting: sockets open, code warm."""

JOBS_AT_ONCE = 200

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12
"""Fields of `/proc/PID/stat` after the name (proc(5))."""


class Figures(msgspec.Struct, frozen=True):
    """One run; times are microseconds of processor time a job.

    Attributes:
        per_s: jobs that ended, a second, all roles sharing this machine.
        http: the jobs come from clients over HTTP; else the gateway makes them itself.
        workers_us: all stand-in workers together.
        busy: the share of one processor that the leader used.
        leader_alone_per_s: what one processor for the leader alone would let pass.
    """

    workers: int
    http: bool
    slots: int
    seconds: float
    jobs: int
    per_s: float
    leader_us: float
    gateway_us: float
    workers_us: float
    busy: float
    leader_alone_per_s: float


def measure(
    workers: int, seconds: float, base_port: int, say: Callable[[str], None], *, http: bool
) -> Figures:
    """One leader, one gateway, so many stand-in workers, for so long.

    Raises:
        ClusterError: they did not start.
    """
    slots = max(1, 2 * JOBS_AT_ONCE // workers)
    numbers = range(base_port, base_port + workers + 4)
    require_free(Port(HOST, kind, number) for number in numbers for kind in ("udp", "tcp"))
    with tempfile.TemporaryDirectory(prefix="javacluster-capacity-") as directory:
        say(f"{workers} stand-in workers of {slots} slots each")
        files = _make(Path(directory), workers, slots, base_port)
        started: list[Process] = []
        try:
            started.append(_start(Path(directory), "leader", files[LEADER : LEADER + 1]))
            started.append(_start(Path(directory), "workers", files[LEADER + 1 :]))
            _wait_for_workers(base_port, workers, Path(directory))
            started.append(_start(Path(directory), "gateway", files[:1], 0 if http else JOBS_AT_ONCE))
            if http:
                started.append(_start_clients(Path(directory), base_port))
            return _count(started[:3], workers, slots, seconds, base_port, http=http)
        finally:
            stop(reversed(started), STOP_S)


def _members(workers: int, base_port: int) -> list[dict[str, Any]]:
    gateway = {"id": GATEWAY, "role": "gateway", "host": HOST, "udp": base_port, "http": base_port + 1}
    leader = {
        "id": LEADER,
        "role": "peer",
        "host": HOST,
        "udp": base_port + 2,
        "tcp": base_port + 2,
        "http": base_port + 3,
    }
    crowd = [
        {"id": 2 + number, "role": "worker", "host": HOST, "udp": base_port + 4 + number}
        for number in range(workers)
    ]
    return [gateway, leader, *crowd]


def _make(directory: Path, workers: int, slots: int, base_port: int) -> list[Path]:
    """Every node's directory; gives back the configuration files, by node."""
    members = _members(workers, base_port)
    files = []
    for member in members:
        home = directory / f"node-{member['id']}"
        home.mkdir()
        document = {
            "cluster": "capacity",
            "node": member["id"],
            "members": members,
            "key_file": "../cluster.key",
            "tls": {"authority": "authority.pem", "certificate": "node.pem", "key": "node.key"},
            "profile": "slow",
            "work": {"slots": slots},
        }
        files.append(home / "node.yml")
        files[-1].write_text(yaml.safe_dump(document))
        provision.provision(load(files[-1]), directory / "authority")
    return files


def _start_clients(directory: Path, base_port: int) -> Process:
    if not wait_until(lambda: _serves(base_port + 1), READY_S):
        raise ClusterError("the gateway does not serve")
    where = (HOST, str(base_port + 1), str(JOBS_AT_ONCE))
    command = [sys.executable, "-m", "cluster.capacity.clients", *where]
    return spawn(command, directory, directory / "clients.log")


def _serves(port: int) -> bool:
    try:
        return client.look(f"http://{HOST}:{port}").leader == LEADER
    except (Unavailable, RemoteProtocolError):
        return False


def _start(directory: Path, name: str, files: list[Path], window: int = 0) -> Process:
    command = [sys.executable, "-m", "cluster.capacity.nodes", *map(str, files)]
    os.environ[WINDOW] = str(window)
    return spawn(command, directory, directory / f"{name}.log")


def _wait_for_workers(base_port: int, workers: int, directory: Path) -> None:
    """Until the leader leads and knows every worker's slots."""

    def there() -> bool:
        try:
            view = client.look(f"http://{HOST}:{base_port + 3}")
        except (Unavailable, RemoteProtocolError):
            return False
        return view.leader == LEADER and sum(node.slots > 0 for node in view.nodes) == workers

    if not wait_until(there, READY_S):
        said = (directory / "workers.log").read_text(errors="replace")[-500:]
        raise ClusterError(f"{workers} workers were not there after {READY_S:g} s: {said}")


def _count(
    started: list[Process], workers: int, slots: int, seconds: float, base_port: int, *, http: bool
) -> Figures:
    """Count jobs and processor time; `started` are the leader, the workers, the gateway."""
    if not wait_until(lambda: _finished(base_port) > 0, READY_S):
        raise ClusterError("no job came through")
    time.sleep(WARM_UP_S)
    begin, jobs = time.monotonic(), _finished(base_port)
    used = [_cpu_s(process) for process in started]
    time.sleep(seconds)
    elapsed, jobs = time.monotonic() - begin, _finished(base_port) - jobs
    leader_s, workers_s, gateway_s = (
        _cpu_s(process) - before for process, before in zip(started, used, strict=True)
    )
    if jobs <= 0:
        raise ClusterError("no job came through")
    return Figures(
        workers=workers,
        http=http,
        slots=slots,
        seconds=round(elapsed, 2),
        jobs=jobs,
        per_s=round(jobs / elapsed, 1),
        leader_us=round(leader_s / jobs * 1e6, 1),
        gateway_us=round(gateway_s / jobs * 1e6, 1),
        workers_us=round(workers_s / jobs * 1e6, 1),
        busy=round(leader_s / elapsed, 2),
        leader_alone_per_s=round(jobs / leader_s, 1),
    )


def _finished(base_port: int) -> int:
    """Jobs that ended under this leader, by its own metrics."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{base_port + 3}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        raise Unavailable(f"the leader does not answer: {error}") from error
    counts = (line for line in lines if line.startswith("javacluster_dispatch_events"))
    return next((int(float(line.split()[-1])) for line in counts if 'event="finished"' in line), 0)


def _cpu_s(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def as_line(figures: Figures) -> str:
    """For people."""
    load = f"{figures.workers:>4} workers{', over HTTP' if figures.http else ''}"
    return (
        f"{load}: {figures.per_s:.0f} jobs/s; a job costs the leader "
        f"{figures.leader_us:.0f} us, the gateway {figures.gateway_us:.0f} us and the stand-ins "
        f"{figures.workers_us:.0f} us; the leader used {figures.busy:.0%} of a processor: "
        f"{figures.leader_alone_per_s:.0f} jobs/s with one of its own"
    )
