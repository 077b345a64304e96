"""The sections of `node.yml` that a gateway reads: its HTTP side, its cache, the drop-in interfaces."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from msgspec import Meta

from cluster.config_sections import Bytes, Count, Seconds, Section
from cluster.limits import MIB


class CacheSettings(Section, frozen=True):
    """The gateway's result cache (protocol C1-C4)."""

    bytes_max: Annotated[int, Meta(ge=0, le=2**40)] = 64 * MIB
    """0 switches it off."""


class CompatSettings(Section, frozen=True):
    """The drop-in interfaces for clients of other systems."""

    interfaces: tuple[Literal["jobe", "piston", "judge0"], ...] = ()
    cache: bool = False
    """Whether a known answer will do; those systems run a program each time."""
    files_bytes: Bytes = 64 * MIB
    """Uploaded files (Jobe) that are kept; beyond it the one unused for longest is forgotten."""
    callback_allow: tuple[str, ...] = ()
    """Whom call-backs (Judge0) may go to: host names, `*.domain`, addresses, networks; empty: nobody."""
    callback_key_file: str = ""
    """What call-backs are signed with."""
    callback_tries: Annotated[int, Meta(ge=1, le=10)] = 3
    callback_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0

    def problems(self) -> list[str]:
        """Values that belong together, or that no schema can check."""
        found = [
            f"$.gateway.compat.callback_allow: `{entry}` is no host name, `*.domain`, address or network"
            for entry in self.callback_allow
            if not _HOST.fullmatch(entry) and not is_network(entry)
        ]
        if self.callback_allow and not self.callback_key_file:
            found.append(
                "$.gateway.compat.callback_key_file: call-backs are signed: name a file with the key"
            )
        return found


_HOST = re.compile(r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?")


def is_network(text: str) -> bool:
    """Whether it is an address, or a network such as `10.1.0.0/16`."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


class GatewaySettings(Section, frozen=True):
    """The HTTP side."""

    pending_max: Count = 2000
    """Requests that wait for an answer at once; past it 503."""
    pending_bytes: Bytes = 256 * MIB
    source_bytes: Bytes = MIB
    request_bytes: Annotated[int, Meta(ge=1, le=24 * MIB)] = 16 * MIB
    """A JSON request: sources and standard input together; the program must fit a frame (`FRAME_MAX`)."""
    jobs_max: Count = 1000
    jobs_bytes: Bytes = 64 * MIB
    jobs_s: Seconds = 600.0
    """Bounds of the jobs that clients come back to (H5): beyond them the oldest that ended are forgotten."""
    connections_max: Count = 4000
    idle_timeout_s: Seconds = 75.0
    tokens_file: str = ""
    """Who may send programs (H9); empty: nobody is asked, which only loopback allows."""
    allow_anonymous: bool = False
    """Requests without a token are taken too, whoever can reach the port."""
    compat: CompatSettings = CompatSettings()
