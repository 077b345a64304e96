"""A gateway without a network, for tests: its parts are fakes that a test can look into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import IResource

from cluster.config import GatewaySettings
from cluster.core.effects import Answer, Level, ShowProgress
from cluster.core.events import Event, RequestArrived
from cluster.gateway.access import open_to_all
from cluster.gateway.app import gateway_resource, node_resource
from cluster.gateway.compat.callbacks import Callbacks
from cluster.gateway.log_access import PeerLogs
from cluster.gateway.parts import GatewayParts, NodeParts
from cluster.gateway.relay import Requests
from cluster.gateway.view import ClusterView, NodeView
from cluster.identity import Role, State, Status
from cluster.limits import Limits
from cluster.wire.jobs import Compilation, Outcome, Piece, Refusal, Run, Verdict
from cluster.wire.messages import AttemptKey, Progressed
from tests.support.deferreds import success_result_of

JOB = "0123456789abcdef0123456789abcdef"
JAVA = {"Content-Type": "text/x-java-source"}


def a_view(**changes: Any) -> ClusterView:
    """Gateway 0; peers 1 (following), 2 (failed) and 3 (leading)."""
    nodes = (
        NodeView(3, Role.PEER, State.LEADING, Status.ALIVE, "127.0.0.3", 8030, 8032, 8033, 7, 0.1, 2, 1),
        NodeView(1, Role.PEER, State.FOLLOWING, Status.SUSPECT, "127.0.0.1", 8010, 8012, 8013, 5, 2.0, 2),
        NodeView(2, Role.PEER, State.LEADING, Status.FAILED, "127.0.0.2", 8020, 8022, 8023, 6, 9.0, 2),
        NodeView(0, Role.GATEWAY, State.OBSERVING, Status.ALIVE, "127.0.0.1", 8000, 0, 8888, 9, 0.0),
    )
    members = tuple(attrs.evolve(node, configured=True) for node in nodes)
    view = ClusterView(0, Role.GATEWAY, State.OBSERVING, 3, 12, "demo", False, members, ready=True)
    return attrs.evolve(view, **changes)


def returned(value: bytes | None, **changes: Any) -> Outcome:
    """The outcome of a program whose `run()` returned that."""
    run = Run(Verdict.OK, value=value, exit_code=0, wall_s=0.02)
    compilation = Compilation(seconds=0.004, main_class="A", entry="run")
    return Outcome(Verdict.OK, compilation=compilation, runs=(run,), worker=1, queue_s=0.001, **changes)


def client_of(resource: IResource) -> Any:
    """A client of a resource; Any, because its methods are made at run time."""
    stub: Callable[[IResource], Any] = StubTreq
    return stub(resource)


class FakeLogs:
    """Two logs in memory."""

    def __init__(self) -> None:
        self.text = {Level.SUMMARY: b"s1\ns2\ns3\n", Level.VERBOSE: b"v1\nv2\n"}
        self.callbacks: list[Callable[[bytes], None]] = []

    def tail(self, kind: Level, lines: int) -> bytes:
        """The end of the text."""
        every = self.text[kind].splitlines(keepends=True)
        return b"".join(every[-lines:] if lines else [])

    def follow(self, kind: Level, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Remember who follows."""
        del kind
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback) if callback in self.callbacks else None


class FakeObserver:
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.answers: list[tuple[Outcome | Refusal, bool, float]] = []
        self.responses: list[tuple[str, int]] = []
        self.open: Counter[str] = Counter()
        self.durations: list[tuple[str, float]] = []

    def answered(self, result: Outcome | Refusal, cached: bool, seconds: float) -> None:
        """Remember."""
        self.answers.append((result, cached, seconds))

    def responded(self, endpoint: str, status: int) -> None:
        """Remember."""
        self.responses.append((endpoint, status))

    def opened(self, endpoint: str) -> None:
        """Remember."""
        self.open[endpoint] += 1

    def closed(self, endpoint: str, seconds: float) -> None:
        """Remember."""
        self.open[endpoint] -= 1
        self.durations.append((endpoint, seconds))


class Gateway:
    """A gateway's resource on fakes, and a client of it."""

    def __init__(self, settings: GatewaySettings | None = None) -> None:
        self.view = a_view()
        self.events: list[Event] = []
        self.logs = FakeLogs()
        self.observer = FakeObserver()
        self.clock = Clock()
        self.settings = settings or GatewaySettings(source_bytes=1000)
        self.puts: list[tuple[str, bytes, Mapping[str, str], Deferred[int]]] = []
        self.callbacks = Callbacks(self.clock, self.settings.compat, b"0123456789abcdef", self._put)
        self.requests = Requests(self.events.append, lambda: JOB)
        self.access = open_to_all()
        self.node_parts = NodeParts(
            lambda: self.view, self.logs, lambda: b"metric 1\n", self.observer, self.clock
        )
        self.peer = client_of(node_resource(attrs.evolve(self.node_parts, view=lambda: a_view(me=1))))
        self.parts = GatewayParts(
            self.requests,
            self.access,
            PeerLogs(self.peer, self.clock),
            self.settings,
            Limits(),
            lambda: 1_700_000_000.5 + self.clock.seconds(),
            self.callbacks,
        )
        self.resource = gateway_resource(self.node_parts, self.parts)
        self.client = client_of(self.resource)

    def _put(self, url: str, body: bytes, headers: Mapping[str, str]) -> Deferred[int]:
        answer: Deferred[int] = Deferred()
        self.puts.append((url, body, headers, answer))
        return answer

    def send(self, method: str, path: str, **kwargs: Any) -> Deferred[Any]:
        """Begin a request."""
        answer: Deferred[Any] = self.client.request(method, f"http://gateway{path}", **kwargs)
        self.client.flush()
        return answer

    def fetch(self, method: str, path: str, **kwargs: Any) -> tuple[Any, bytes]:
        """A request that is answered at once."""
        return self.result(self.send(method, path, **kwargs))

    def result(self, answer: Deferred[Any]) -> tuple[Any, bytes]:
        """The response and its body."""
        self.client.flush()
        self.peer.flush()
        self.client.flush()
        response = success_result_of(answer)
        body = self.client.content(response)
        self.client.flush()
        return response, success_result_of(body)

    def run(self, source: bytes = b"class A {}", **headers: str) -> Deferred[Any]:
        """Send a program."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send("POST", "/compileandrun", data=source, headers=JAVA | named)

    def arrived(self) -> RequestArrived:
        """The last request that reached the core."""
        event = self.events[-1]
        assert isinstance(event, RequestArrived)
        return event

    def progress(self, *pieces: Piece, attempt: int = 1, compilation: Compilation | None = None) -> None:
        """The last request's run comes to something."""
        told = Progressed(12, 1, AttemptKey(JOB, 12, attempt), compilation, pieces)
        self.requests.show(ShowProgress((self.arrived().request,), told))

    def answer(self, result: Outcome | Refusal, cached: bool = False, age_s: float = 0.0) -> None:
        """The core answers it."""
        self.requests.answered(Answer(self.arrived().request, JOB, result, cached, age_s))


def header(response: Any, name: str) -> str | None:
    """One header of a response."""
    values = response.headers.getRawHeaders(name)
    return None if values is None else ", ".join(values)
