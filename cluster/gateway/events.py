"""A job's server-sent events (H5): what the gateway knows, as soon as it knows it.

`queued` comes at once; `compiled` and `verdict` come when the outcome does. A comment every few seconds keeps
the connection from looking dead. The stream ends after the verdict.
"""

# mypy: allow-untyped-calls
# Twisted's web requests are not annotated.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from cluster.gateway.jobs import KeptJob
from cluster.gateway.schemas import JobDocument

EVENTS = "text/event-stream"
STREAMS_MAX = 256
"""Streams of events open at once."""
KEEP_ALIVE_S = 10.0


async def stream(
    request: Request, job: KeptJob, document: Callable[[KeptJob], JobDocument], clock: IReactorTime
) -> None:
    """Write the events of one job until it has ended; the client's disconnect cancels this at its `await`."""
    request.write(_event("queued", {"job": job.id, "age_s": document(job).age_s}))
    while job.answered is None:
        with contextlib.suppress(DeferredTimeout):
            await job.wait().addTimeout(KEEP_ALIVE_S, clock)
        if job.answered is None:
            request.write(b": still pending\n\n")
    for piece in _ended(document(job)):
        request.write(piece)


def _ended(document: JobDocument) -> Iterator[bytes]:
    result = document.result
    if result is not None and result.compilation is not None:
        compilation = result.compilation
        yield _event(
            "compiled",
            {
                "job": document.job,
                "seconds": compilation.seconds,
                "diagnostics": compilation.diagnostics,
                "main_class": compilation.main_class,
            },
        )
    yield _event("verdict", document)


def _event(name: str, data: object) -> bytes:
    """JSON has no line ends of its own, so that one `data:` line holds it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
