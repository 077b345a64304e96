"""A real cluster for tests, used as its users use it: the command line and HTTP, and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

COMMAND_S = 150.0
ANSWER_S = 90.0
POLL_S = 0.1
SPAN = 100
"""Ports that one cluster may use above its base."""

HELLO = 'package a.b; public class HelloWorld {{ public String run() {{ return "Hello world! {}"; }} }}'


@attrs.frozen
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@attrs.frozen
class Answer:
    """What a gateway answered; header names in lower case."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def cached(self) -> str:
        return self.headers.get("cached-response", "absent")


def javacluster(
    *arguments: str,
    environment: dict[str, str] | None = None,
    seconds: float = COMMAND_S,
    under: tuple[str, ...] = (),
) -> Ran:
    """Run a command and wait for it; `under` is a command that runs it, such as `prlimit --nofile=500`."""
    done = subprocess.run(
        [*under, sys.executable, "-m", "cluster.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """What `condition` gives once it is true; fails the test if that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_S)


def free_base_port() -> int:
    """A base port such that nothing listens on it and the ports above it, now."""
    rng = random.SystemRandom()
    while True:
        base = rng.randrange(11_000, 30_000, SPAN)
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for number in range(base, base + SPAN):
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    probe = held.enter_context(socket.socket(socket.AF_INET, kind))
                    probe.bind(("127.0.0.1", number))
            return base


def _start_time(pid: int) -> str:
    """When a process began, in ticks; empty when it is gone, or dead and not yet waited for."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


class Live:
    """One cluster in its own directory, on its own ports."""

    def __init__(self, directory: Path, peers: int, settings: dict[str, Any], gateways: int = 1) -> None:
        self.directory = directory
        self.peers = peers
        self.gateways = gateways
        self.settings = settings
        self.under: tuple[str, ...] = ()
        self.base_port = free_base_port()
        self.http_port = self.base_port + 1
        self._seen: set[tuple[int, str]] = set()

    def command(self, name: str, *arguments: str) -> Ran:
        """A command for this cluster."""
        self._seen |= self._offspring()
        return javacluster(name, "--directory", str(self.directory), *arguments, under=self.under)

    def up(self) -> Ran:
        """Start it; must work."""
        settings = [text for key, value in self.settings.items() for text in ("--set", f"{key}={value}")]
        ran = self.command(
            "up",
            *("--peers", str(self.peers), "--gateways", str(self.gateways)),
            *("--base-port", str(self.base_port), "--http-port", str(self.http_port)),
            *settings,
        )
        assert ran.code == 0, f"{ran.out}{ran.err}{self.outputs()}"
        return ran

    def down(self) -> None:
        """Stop it; must leave nothing."""
        ran = self.command("down")
        assert ran.code == 0, ran.err
        assert self.leftovers() == []

    def outputs(self) -> str:
        """What the nodes printed, for a test's failure."""
        files = sorted(self.directory.glob("node-*/output.log"))
        return "".join(
            f"\n--- {file.parent.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files
        )

    def leftovers(self) -> list[str]:
        """Living processes that know this cluster's directory, or that a node of it had started."""
        found = [f"{pid}: started by a node" for pid, start in self._seen if _start_time(pid) == start]
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if entry.name.isdigit() and int(entry.name) != os.getpid() and str(self.directory) in line:
                    found.append(f"{entry.name}: {line}")
        return found

    def _offspring(self) -> set[tuple[int, str]]:
        """Everything that the nodes have started, with start times: virtual machines know no directory."""
        children: dict[int, list[int]] = {}
        nodes = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
                if str(self.directory) in (entry / "cmdline").read_text(errors="replace"):
                    nodes.append(int(entry.name))
        found: set[tuple[int, str]] = set()
        while nodes:
            for child in children.get(nodes.pop(), []):
                nodes.append(child)
                found.add((child, _start_time(child)))
        return {(pid, start) for pid, start in found if start}

    def status(self) -> dict[int, dict[str, Any]]:
        """`javacluster status --json`, by node."""
        ran = self.command("status", "--json")
        assert ran.code == 0, ran.err
        return {row["id"]: row for row in json.loads(ran.out)["nodes"]}

    def info(self, node: int = 0) -> dict[str, Any]:
        """`/cluster-info` of the gateway."""
        answer = self.request("GET", "/cluster-info", node=node)
        assert answer.status == 200, answer
        decoded: dict[str, Any] = json.loads(answer.text)
        return decoded

    def rows(self) -> dict[int, dict[str, Any]]:
        """The nodes of `/cluster-info`."""
        return {row["id"]: row for row in self.info()["nodes"]}

    def alive(self) -> set[int]:
        """The peers that the gateway takes to be alive."""
        return {
            node for node, row in self.rows().items() if row["status"] == "ALIVE" and row["role"] == "peer"
        }

    def leader(self) -> int | None:
        """Whom the gateway follows."""
        leader: int | None = self.info()["leader"]
        return leader

    def led(self) -> tuple[int, int]:
        """Leader and epoch that the gateway follows; waits while it follows nobody, as on a busy machine."""
        info = eventually(lambda: (now := self.info())["leader"] is not None and now, "somebody leads")
        return info["leader"], info["epoch"]

    def claims(self, node: int) -> int | None:
        """Whom that node itself names as the leader."""
        leader: int | None = json.loads(self.request("GET", "/cluster-info", node=node).text)["leader"]
        return leader

    def metric(self, node: int, name: str, **labels: str) -> float:
        """One number of a node's `/metrics`, without `javacluster_` and `_total`; 0 while it has none."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in self.request("GET", "/metrics", node=node).text.splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, rest = sample.removeprefix("javacluster_").partition("{")
            if found.removesuffix("_total") == name and wanted <= set(rest.rstrip("}").split(",")):
                return float(value)
        return 0.0

    def run(
        self,
        source: str | bytes,
        content_type: str | None = "text/x-java-source",
        *,
        seconds: float = ANSWER_S,
    ) -> Answer:
        """Post a program; no answer within `seconds` fails the test."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        body = source.encode() if isinstance(source, str) else source
        return self.request("POST", "/compileandrun", body, headers, seconds=seconds)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        node: int = 0,
        seconds: float = ANSWER_S,
    ) -> Answer:
        """Any request to a node."""
        port = self.base_port + 10 * node + 3 if node else self.http_port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
        with contextlib.closing(connection):
            # A gateway may answer and hang up before it has read a body that is too large.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return Answer(response.status, text, {k.lower(): v for k, v in response.getheaders()})


@contextlib.contextmanager
def live_cluster(
    directory: Path, peers: int = 3, gateways: int = 1, *, under: tuple[str, ...] = (), **settings: Any
) -> Iterator[Live]:
    """A cluster that serves, and that is gone afterwards whatever happened."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    cluster = Live(directory, peers, dotted, gateways)
    cluster.under = under
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
