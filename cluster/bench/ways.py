"""The ways to have a program compiled and run: what a user would type, our engine alone, and a cluster."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import resource
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from cluster.bench.driver import RunnerProcess
from cluster.bench.programs import Workload
from cluster.bench.usage import cpu_seconds, memory_mib
from cluster.errors import Unavailable
from cluster.local import LocalCluster
from cluster.wire.jobs import Input, Outcome, Program, Source

PATIENCE_S = 120.0
"""How long one answer may take."""

_OK = 200


class Way(Protocol):
    """One of them."""

    name: str

    def perform(self, workload: Workload, tag: str) -> str:
        """Compile and run one program; everything that it said. Called from several threads."""

    def cpu_s(self) -> float:
        """Processor seconds that it has cost until now."""

    def memory_mib(self) -> float:
        """What it holds while it waits; for a command, the most that one ever held."""


class Commands:
    """`javac` and `java`, or `java` with a source file: cold each time."""

    def __init__(self, *, single_file: bool) -> None:
        self.name = "java File.java" if single_file else "javac, java"
        self._single = single_file

    def perform(self, workload: Workload, tag: str) -> str:
        """See `Way`."""
        with tempfile.TemporaryDirectory(prefix="javacluster-bench-") as directory:
            file = Path(directory) / f"P{tag}.java"
            file.write_text(workload.source(tag))
            said = ""
            if not self._single:
                code, said = self._call("javac", "-d", directory, str(file))
                if code:
                    return said
            start = [str(file)] if self._single else ["-cp", directory, f"P{tag}"]
            for number in range(workload.inputs):
                said += self._call("java", *start, str(number))[1]
            return said

    def _call(self, *argv: str) -> tuple[int, str]:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def cpu_s(self) -> float:
        """See `Way`."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def memory_mib(self) -> float:
        """See `Way`."""
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


class Alone:
    """The Java side of one node without a cluster around it, driven over a pipe."""

    name = "engine alone"

    def __init__(self, state: Path) -> None:
        self._runner = RunnerProcess(state, slots=os.cpu_count() or 1)
        if not self._runner.start.started:
            raise Unavailable(self._runner.start.text)
        self._waiting: dict[str, tuple[threading.Event, list[Outcome]]] = {}
        self._lock = threading.Lock()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def perform(self, workload: Workload, tag: str) -> str:
        """See `Way`."""
        inputs = tuple(Input((str(number),)) for number in range(workload.inputs))
        program = Program((Source("", workload.source(tag)),), inputs=inputs)
        arrived, box = threading.Event(), list[Outcome]()
        with self._lock:
            self._waiting[self._runner.submit(program)] = (arrived, box)
        if not arrived.wait(PATIENCE_S) or not box:
            raise Unavailable("the engine did not answer")
        said = [box[0].compilation.text] if box[0].compilation else []
        for run in box[0].runs:
            said += [(run.value or b"").decode(), run.stdout.decode(), run.stderr.decode()]
        return "".join(said)

    def _read(self) -> None:
        for answer in self._answers():
            with self._lock:
                arrived, box = self._waiting.pop(answer.id)
            if answer.outcome is not None:
                box.append(answer.outcome)
            arrived.set()

    def _answers(self) -> Iterator[Any]:
        while True:
            try:
                yield self._runner.read(None)
            except (Unavailable, ValueError, OSError):
                return

    def cpu_s(self) -> float:
        """See `Way`."""
        return cpu_seconds([self._runner.pid])

    def memory_mib(self) -> float:
        """See `Way`."""
        return memory_mib([self._runner.pid])

    def stop(self) -> None:
        """End the process and everything below it."""
        self._runner.stop()


class Gateway:
    """A cluster of one gateway and three peers, over HTTP with a connection a client."""

    name = "cluster, HTTP"

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        address = urlsplit(cluster.gateway_url)
        self._address = (address.hostname or "", address.port or 80)
        self._local = threading.local()
        self._numbers = itertools.count()

    def perform(self, workload: Workload, tag: str) -> str:
        """See `Way`."""
        tests = [{"args": [str(number)]} for number in range(workload.inputs)]
        body = json.dumps({"source": workload.source(tag), "tests": tests})
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(
                *self._address, timeout=PATIENCE_S
            )
        try:
            connection.request("POST", "/v1/run", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return f"no answer: {error}"
        if answer.status != _OK:
            return text
        told = json.loads(text)
        said = [told["compilation"]["text"]]
        for run in told["runs"]:
            said += [run.get("value") or "", run["stdout"], run["stderr"]]
        return "".join(said)

    def _roots(self) -> list[int]:
        return [process.pid for process in self._cluster.processes() if process.pid]

    def cpu_s(self) -> float:
        """See `Way`."""
        return cpu_seconds(self._roots())

    def memory_mib(self) -> float:
        """See `Way`; of one node on average."""
        roots = self._roots()
        return memory_mib(roots) / max(len(roots), 1)
