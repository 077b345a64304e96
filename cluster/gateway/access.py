"""Who asks, and whether he may (H9): bearer tokens, a rate for each tenant, nobody's secret in memory."""

from __future__ import annotations

import hmac
import math
from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path

import attrs

from cluster.config import GatewaySettings
from cluster.errors import ConfigError
from cluster.gateway.replies import HttpProblem
from cluster.tokens import Token, digest_of, load

Header = Callable[[str], str | None]
"""A request's header by its name; None where it has none."""

_SCHEME = "bearer"
READS = 10
"""For each program that a tenant may send he may ask so often for what comes of it."""
READS_LEAST = 10.0
"""And so often a second at least, so that who sends few can wait for them."""
READS_BURST_LEAST = 100.0
_KEY_DIGITS = 8
"""A token is looked up by the first digits of its hash, and compared by all of them in constant time."""


@attrs.frozen
class Caller:
    """Who asks.

    Attributes:
        name: the tenant; None for somebody without a token, where that is allowed.
        share: its jobs a turn.
    """

    name: str | None = None
    share: int = 1


ANONYMOUS = Caller()


@attrs.define
class _Bucket:
    """What a tenant may still send at once; it fills with its rate."""

    level: float
    at: float

    def fill(self, now: float, rate: float, burst: float) -> int | None:
        """Let it fill until now; None if there is one in it, else the seconds until there is."""
        self.level = min(burst, self.level + (now - self.at) * rate)
        self.at = now
        return None if self.level >= 1 else max(1, math.ceil((1 - self.level) / rate))


class Access:
    """The tokens of a gateway.

    Attributes:
        needed: a request without a token is refused.
        counters: of each tenant's programs, those taken and those over its rate; of strangers, `refused`.
    """

    def __init__(self, tokens: Iterable[Token], clock: Callable[[], float], *, anonymous: bool) -> None:
        """`anonymous`: a request without a token is taken too; one with a wrong token never is."""
        self.needed = not anonymous
        self.counters: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._tokens: dict[str, list[Token]] = {}
        self._by_name: dict[str, Token] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._reads: dict[str, _Bucket] = {}
        self.replace(tokens)

    def __len__(self) -> int:
        """How many tokens are good."""
        return sum(map(len, self._tokens.values()))

    def replace(self, tokens: Iterable[Token]) -> None:
        """These are the tokens from now on; who stays keeps what he has used of his rate."""
        self._tokens.clear()
        self._by_name.clear()
        for token in tokens:
            self._tokens.setdefault(token.sha256[:_KEY_DIGITS], []).append(token)
            self._by_name[token.name] = token
        for buckets in (self._buckets, self._reads):
            for name in buckets.keys() - self._by_name.keys():
                del buckets[name]

    def names(self, tenant: str) -> bool:
        """A token's holder has this name: it is nobody else's."""
        return tenant in self._by_name

    def hides(self, tenant: str, caller: Caller) -> bool:
        """This tenant's jobs are not the caller's: he is another, or nobody while the tenant has a token."""
        return self.names(tenant) if caller.name is None else caller.name != tenant

    def caller(self, authorization: str | None) -> Caller:
        """Who sends this `Authorization`.

        Raises:
            HttpProblem: 401, it is needed, or names no token of ours.
        """
        if authorization is None:
            if not self.needed:
                return ANONYMOUS
            raise self._refused("send a token: `Authorization: Bearer TOKEN`", "")
        if (found := self._token(authorization)) is None:
            raise self._refused("this token is not known here, or not any longer", ', error="invalid_token"')
        return Caller(found.name, found.share)

    def name_of(self, authorization: str | None) -> str | None:
        """The tenant whose token this is; None for anything else. Nothing is counted, and nobody refused."""
        token = None if authorization is None else self._token(authorization)
        return None if token is None else token.name

    def _token(self, authorization: str) -> Token | None:
        scheme, _space, secret = authorization.strip().partition(" ")
        digest = digest_of(secret.strip())
        found = None
        for token in self._tokens.get(digest[:_KEY_DIGITS], ()):
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found if scheme.lower() == _SCHEME else None

    def spend(self, caller: Caller) -> None:
        """Count one request of this caller that brings a program, before it is parsed: that costs, too.

        Raises:
            HttpProblem: 429, he is over his rate; `Retry-After` says when he is not.
        """
        if (bucket := self.look(caller)) is not None:
            bucket.level -= 1
            self.counters[caller.name or "", "taken"] += 1

    def look(self, caller: Caller) -> _Bucket | None:
        """What he may still send, if there is a bound to it; nothing is counted.

        Raises:
            HttpProblem: 429, nothing now.
        """
        if caller.name is None or (token := self._by_name.get(caller.name)) is None:
            return None
        bucket = self._buckets.setdefault(token.name, _Bucket(token.burst, self._clock()))
        if (wait_s := bucket.fill(self._clock(), token.rate, token.burst)) is not None:
            raise self._limited(token.name, f"may send {token.rate:g} programs a second", wait_s)
        return bucket

    def read(self, caller: Caller) -> None:
        """Count one request of this caller for what comes of programs, or for a log (H9).

        Raises:
            HttpProblem: 429, as in `look`.
        """
        if caller.name is None or (token := self._by_name.get(caller.name)) is None:
            return
        rate, burst = max(READS * token.rate, READS_LEAST), max(READS * token.burst, READS_BURST_LEAST)
        bucket = self._reads.setdefault(token.name, _Bucket(burst, self._clock()))
        if (wait_s := bucket.fill(self._clock(), rate, burst)) is not None:
            raise self._limited(token.name, f"may ask for {rate:g} jobs and logs a second", wait_s)
        bucket.level -= 1

    def _limited(self, name: str, what: str, wait_s: int) -> HttpProblem:
        self.counters[name, "limited"] += 1
        text = f"{name} {what}: try again in {wait_s} s"
        return HttpProblem(HTTPStatus.TOO_MANY_REQUESTS, text, {"Retry-After": str(wait_s)})

    def _refused(self, text: str, error: str) -> HttpProblem:
        self.counters["", "refused"] += 1
        challenge = f'Bearer realm="javacluster"{error}'
        return HttpProblem(HTTPStatus.UNAUTHORIZED, text, {"WWW-Authenticate": challenge})


def access_of(settings: GatewaySettings, clock: Callable[[], float]) -> Access:
    """As the configuration says.

    Raises:
        ConfigError: the file of tokens can't be read, or there is none in it and one is needed.
    """
    tokens = load(Path(settings.tokens_file)) if settings.tokens_file else ()
    if settings.tokens_file and not tokens and not settings.allow_anonymous:
        raise ConfigError(f"{settings.tokens_file}: no token is in it: `javacluster keys token NAME`")
    return Access(tokens, clock, anonymous=settings.allow_anonymous or not settings.tokens_file)


def open_to_all() -> Access:
    """A gateway that asks nobody for a token."""
    return Access((), lambda: 0.0, anonymous=True)
