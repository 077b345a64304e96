"""Who need not even be read (H8, H9): programs are refused by their headers, in the words of their interface.

A body is read only from somebody who may send programs and is not over his rate; everybody else gets his
answer while it is still on its way, so that it costs neither memory nor parsing. Where no bodies are taken
nobody is asked for a token, and so none is held that is large enough to keep those of others out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

import attrs

from cluster.gateway.access import Access, Header
from cluster.gateway.replies import HttpProblem, Reply, problem_reply

ASIDE_BYTES = 1024
"""Of a body where none is taken: read, so that its answer is the usual one, and never looked at."""


@attrs.frozen
class Entrance:
    """Where programs, or what goes with them, are sent.

    Attributes:
        path: whole; or with a `/` at its end, the beginning of several.
        authorization: what the client says of itself, as an `Authorization` would.
        refusal: an answer that clients of this interface understand.
    """

    path: str
    authorization: Callable[[Header], str | None]
    refusal: Callable[[HttpProblem], Reply]


def bearer(header: Header) -> str | None:
    """Where our own interfaces look for a token."""
    return header("Authorization")


OUR_OWN = (
    Entrance("/compileandrun", bearer, lambda problem: problem_reply(problem, plain=True)),
    *(
        Entrance(path, bearer, lambda problem: problem_reply(problem, plain=False))
        for path in ("/v1/run", "/v1/jobs")
    ),
)


class Door:
    """Looks at headers before bodies are read."""

    def __init__(self, access: Access, entrances: Iterable[Entrance]) -> None:
        """Ask `access` who may."""
        self._access = access
        every = tuple(entrances)
        self._paths = {entrance.path.encode(): entrance for entrance in every}
        self._beginnings = tuple(one for one in every if one.path.endswith("/"))

    def refusal(self, path: bytes, header: Header) -> Reply | bool:
        """The answer to a body that need not be read; otherwise whether it was counted. `path` as sent.

        It counts when it begins, as to receive it costs something, too: also if the rest never comes.
        """
        entrance = self._entrance(path)
        if entrance is None:
            return False
        try:
            self._access.spend(self._access.caller(entrance.authorization(header)))
        except HttpProblem as problem:
            return entrance.refusal(problem)
        return True

    def takes_bodies(self, path: bytes) -> bool:
        """It is an entrance's, so that there is a reason to read more than `ASIDE_BYTES`. `path` as sent."""
        return self._entrance(path) is not None

    def _entrance(self, sent: bytes) -> Entrance | None:
        if (found := self._paths.get(sent)) is not None:  # as nearly all spell it
            return found
        path = unquote_to_bytes(sent.partition(b"?")[0])
        if (found := self._paths.get(path)) is not None:
            return found
        for one in self._beginnings:
            if path.startswith(one.path.encode()):
                return one
        return None
