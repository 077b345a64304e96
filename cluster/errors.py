"""The error tree: whose fault it is decides the branch (architecture A5).

* `ConfigError`: the operator's. Told in one line a problem, exit status 78.
* `EnvironmentFault`: the machine's: no JDK, a taken port, a full disk.
* `ProtocolError`: a broken conversation, ours (`LocalProtocolError`, a bug) or the other
  side's (`RemoteProtocolError`: counted, dropped, never fatal).
* `JobError`: the submitter's: a request that can't be a job.
* `Unavailable`: nobody's; trying again later may work.
"""

from __future__ import annotations

from typing import Self


class ClusterError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigError(ClusterError):
    """The configuration can't be used.

    Attributes:
        problems: one line each, naming the place (`$.gossip.interval_s`) and what to do.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EnvironmentFault(ClusterError):
    """The machine lacks something; the text says what, and how to get it."""


class HostExhausted(EnvironmentFault):
    """The machine lacks something now, such as memory or processes; another try may work."""


class StorageError(EnvironmentFault):
    """The durable record can't be read or written (N4)."""


class ProtocolError(ClusterError):
    """Abstract: raise one of its two children, so that blame is never lost."""

    def __new__(cls, *_args: object) -> Self:
        """Refuse to make a protocol error that blames nobody."""
        if cls is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError")
        return super().__new__(cls)


class LocalProtocolError(ProtocolError):
    """We broke the protocol: a bug here. Logged as critical."""


class RemoteProtocolError(ProtocolError):
    """The other side broke the protocol, or bytes arrived that no node of ours sent.

    Attributes:
        reason: a short fixed word for the drop counter, such as `"truncated"`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class JobError(ClusterError):
    """A request that can't become a job: bad limits, no source, too large."""


class Unavailable(ClusterError):
    """The cluster can't serve now.

    Attributes:
        retry_after_s: seconds after which another try makes sense.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
