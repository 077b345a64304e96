"""Call-backs: signed PUT requests, away from everybody who waits.

They go out a few at a time and are tried a few times; what fails then is dropped and counted, as its client
can still ask. A host's name is resolved here, and the connection goes to the very address that was looked at
(`callback_policy`), so that a name can't turn into another address in between. Redirects are not followed.
"""

# mypy: allow-untyped-calls
# Twisted's web client is not annotated.

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import attrs

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import Cooperator
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from cluster.config import CompatSettings
from cluster.errors import ConfigError, EnvironmentFault
from cluster.gateway.compat.callback_policy import Policy
from cluster.limits import MIB

SIGNATURE = "X-Javacluster-Signature"
"""`sha256=` and, in hexadecimal, the HMAC-SHA-256 of the body under `gateway.compat.callback_key_file`."""

KEY_BYTES_MIN = 16
AT_ONCE = 16
WAITING_MAX = 1000
WAITING_BYTES_MAX = 32 * MIB
PAUSE_S = 1.0
"""Before the second try; doubled before each further one."""

_OK = range(200, 300)

Put = Callable[[str, bytes, Mapping[str, str]], Deferred[int]]
"""Puts a body to a URL and gives the status."""


class Callbacks:
    """The call-backs that are under way.

    Attributes:
        sent, failed, dropped: delivered; given up after the last try; never tried, as too many waited.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, settings: CompatSettings, key: bytes, put: Put) -> None:
        """Sign with `key`, deliver by `put`."""
        self._clock = clock
        self._settings = settings
        self._key = key
        self._put = put
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._running: set[Deferred[Any]] = set()
        self._stopped = False
        self._policy = Policy(settings.callback_allow)
        self.sent = self.failed = self.dropped = 0

    def refusal(self, url: str) -> str:
        """Why no call-back goes there; empty when one may."""
        return self._policy.refusal(url)

    @property
    def results(self) -> Mapping[str, int]:
        """How many were delivered, given up, never tried."""
        return {"sent": self.sent, "failed": self.failed, "dropped": self.dropped}

    def send(self, url: str, body: bytes) -> None:
        """Deliver it when its turn comes."""
        full = len(self._waiting) >= WAITING_MAX or self._waiting_bytes + len(body) > WAITING_BYTES_MAX
        if self._stopped or full:
            self.dropped += 1
            return
        self._waiting.append((url, body))
        self._waiting_bytes += len(body)
        self._next()

    def stop(self) -> None:
        """Forget what waits, and end what is under way."""
        self._stopped = True
        self._waiting.clear()
        self._waiting_bytes = 0
        for running in tuple(self._running):
            running.cancel()

    def _next(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            url, body = self._waiting.popleft()
            self._waiting_bytes -= len(body)
            done: Deferred[Any] = Deferred.fromCoroutine(self._deliver(url, body))
            self._running.add(done)
            done.addBoth(self._ended, done)

    def _ended(self, result: object, done: Deferred[Any]) -> None:
        self._running.discard(done)
        if isinstance(result, Failure) and not self._stopped:
            self._log.failure("a call-back broke", result)
        if not self._stopped:
            self._next()

    async def _deliver(self, url: str, body: bytes) -> None:
        signature = hmac.new(self._key, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", SIGNATURE: f"sha256={signature}"}
        why = ""
        for attempt in range(self._settings.callback_tries):
            if attempt:
                await _pause(self._clock, PAUSE_S * 2 ** (attempt - 1))
            try:
                answer = self._put(url, body, headers).addTimeout(
                    self._settings.callback_timeout_s, self._clock
                )
                status = await answer
            except CancelledError:
                raise  # told to stop
            except Exception as error:  # noqa: BLE001  (whatever a stranger's server did: the next try, or none)
                why = f"{type(error).__name__}: {error}"
                continue
            if status in _OK:
                self.sent += 1
                return
            why = f"status {status}"
        self.failed += 1
        self._log.warn("no call-back could be delivered to {url}: {why}", url=url[:200], why=why[:200])


def callbacks_of(
    settings: CompatSettings,
    reactor: Any,  # noqa: ANN401  (connects, resolves, keeps time)
    read_secret: Callable[[Path, str, str], bytes],
) -> Callbacks:
    """Those of a gateway; with an empty list nothing can be sent. For `read_secret` see `net.files`.

    Raises:
        ConfigError: the key is not there, too short, or others can read it.
    """
    if not settings.callback_allow:
        return Callbacks(reactor, settings, b"", _no_put)
    path = Path(settings.callback_key_file)
    try:
        key = read_secret(path, "key of the call-backs", f"`openssl rand -hex 32 > {path}` makes one").strip()
    except EnvironmentFault as error:
        raise ConfigError(f"$.gateway.compat.callback_key_file: {error}") from error
    if len(key) < KEY_BYTES_MIN:
        raise ConfigError(
            f"$.gateway.compat.callback_key_file: {path} holds {len(key)} bytes: {KEY_BYTES_MIN} at least"
        )
    return Callbacks(reactor, settings, key, guarded_put(reactor, settings.callback_allow))


def guarded_put(reactor: Any, allowed: Sequence[str]) -> Put:  # noqa: ANN401  (connects, resolves, keeps time)
    """A `Put` that connects to nothing that `allowed` does not admit."""
    agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, Policy(allowed)))
    client = HTTPClient(agent)
    steps = Cooperator(scheduler=lambda step: reactor.callLater(0.0, step))

    def put(url: str, body: bytes, headers: Mapping[str, str]) -> Deferred[int]:
        answer = client.put(
            url,
            data=FileBodyProducer(BytesIO(body), steps),
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        return cast("Deferred[int]", answer.addCallback(_status))

    return put


def _status(response: IResponse) -> int:
    """The body is nobody's concern: the connection is closed with it unread."""
    nobody = Protocol()
    response.deliverBody(nobody)
    cast(Any, nobody.transport).loseConnection()
    status: int = response.code
    return status


def _pause(clock: IReactorTime, seconds: float) -> Deferred[None]:
    timer: Any = None
    pause: Deferred[None] = Deferred(lambda _pause: timer.cancel())
    timer = clock.callLater(seconds, pause.callback, None)
    return pause


@implementer(IAgentEndpointFactory)
@attrs.frozen
class _Endpoints:
    """Where the agent connects to."""

    _reactor: Any
    _policy: Policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802  (Twisted's name)
        """An endpoint that looks before it connects."""
        host = uri.host.decode("ascii")
        endpoint = _Looking(self._reactor, self._policy, host, uri.port)
        if uri.scheme == b"https":
            return wrapClientTLS(optionsForClientTLS(host), endpoint)
        return endpoint


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _Looking:
    """Resolves a name and connects to the first of its addresses that is admitted."""

    _reactor: Any
    _policy: Policy
    _host: str
    _port: int

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803  (Twisted's name)
        """Fails with ConnectError when no address is admitted."""
        receiver = _Receiver()
        self._reactor.nameResolver.resolveHostName(receiver, self._host, portNumber=self._port)

        def connect(addresses: list[IAddress]) -> Deferred[IProtocol]:
            for address in cast("list[Any]", addresses):
                if self._policy.admits(address.host):
                    kind = TCP6ClientEndpoint if ":" in address.host else TCP4ClientEndpoint
                    endpoint = kind(self._reactor, address.host, self._port)
                    return cast("Deferred[IProtocol]", endpoint.connect(protocolFactory))
            raise ConnectError(string=f"{self._host} has no address that call-backs may go to")

        return receiver.done.addCallback(connect)


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects the addresses of a name."""

    def __init__(self) -> None:
        self._addresses: list[IAddress] = []
        self.done: Deferred[Any] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803
        """Nothing is known yet."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802
        """One of them."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:  # noqa: N802
        """All of them."""
        if not self.done.called:
            self.done.callback(self._addresses)


def _no_put(_url: str, _body: bytes, _headers: Mapping[str, str]) -> Deferred[int]:
    """For a gateway whose list is empty: nothing is ever put."""
    return succeed(0)
