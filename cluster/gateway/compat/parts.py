"""What the drop-in interfaces share: the parts that they use, and running a program through them."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from cluster.config import GatewaySettings
from cluster.gateway.access import Access, Caller, Header
from cluster.gateway.compat.callbacks import Callbacks
from cluster.gateway.endpoint import counted
from cluster.gateway.jobs import KeptJobs
from cluster.gateway.relay import Answered, Requests
from cluster.gateway.view import ClusterView
from cluster.identity import Role, Status
from cluster.limits import Limits
from cluster.wire.jobs import Program

OTHER_HEADERS = ("X-API-KEY", "X-Auth-Token")
"""Where clients of Jobe and of Judge0 send their token."""


def authorization_of(header: Header) -> str | None:
    """A bearer token, or one that is sent as clients of the other systems do; as an `Authorization`."""
    authorization = header("Authorization")
    for name in OTHER_HEADERS:
        if authorization is None and (sent := header(name)):
            authorization = sent
    if authorization is not None and " " not in authorization.strip():
        authorization = f"Bearer {authorization}"
    return authorization


@attrs.frozen
class CompatParts:
    """What they are made of.

    Attributes:
        jobs: gives the jobs that clients come back to.
        answered: hears of every answer and its seconds.
        utc: seconds since 1970, to be shown and for nothing else.
    """

    requests: Requests
    access: Access
    settings: GatewaySettings
    limits: Limits
    view: Callable[[], ClusterView]
    clock: IReactorTime
    jobs: Callable[[], KeptJobs]
    answered: Callable[[Answered, float], None]
    utc: Callable[[], float]
    callbacks: Callbacks

    def caller(self, request: Request) -> Caller:
        """Who asks (H9).

        Raises:
            HttpProblem: 401.
        """
        return self.access.caller(authorization_of(request.getHeader))

    def sender(self, request: Request) -> Caller:
        """Who sends a program, or what goes with one: it counts for his rate before it is parsed (H9).

        Raises:
            HttpProblem: 401; or 429, he is over his rate.
        """
        caller = self.caller(request)
        if not counted(request):
            self.access.spend(caller)
        return caller

    async def run(self, program: Program, caller: Caller) -> Answered:
        """Run it and wait; a client's disconnect cancels it (H8)."""
        began = self.clock.seconds()
        cache = self.settings.compat.cache
        answer, _leave = self.requests.submit(
            program, cache, cache, tenant=caller.name or "", share=caller.share
        )
        answered = await answer
        self.answered(answered, self.clock.seconds() - began)
        return answered

    @property
    def newest_version(self) -> str:
        """Of those JDKs; empty where there is none."""
        return next(reversed(self.versions()), "")

    def versions(self) -> list[str]:
        """Of the JDKs of the living nodes."""
        return sorted(
            {
                node.java
                for node in self.view().nodes
                if node.role is not Role.GATEWAY
                and node.java
                and node.status in {Status.ALIVE, Status.SUSPECT}
            }
        )
