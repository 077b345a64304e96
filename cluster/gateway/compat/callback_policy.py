"""Whom a call-back may go to: the operator's list, looked at twice, as a URL and as an address. Pure.

A URL comes from a client, and without care it would let strangers reach whatever this machine can reach.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from cluster.config_gateway import is_network

URL_MAX = 2000

NOT_ALLOWED = "setting callback is not allowed"
"""Judge0's own words where call-backs are off."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Policy:
    """The list `gateway.compat.callback_allow`."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Take host names, `*.domain`, addresses and networks, as the configuration has checked them."""
        entries = list(allowed)
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in entries if is_network(entry)]
        self._names = [entry.lower() for entry in entries if not is_network(entry)]

    def refusal(self, url: str) -> str:
        """Why no call-back goes there; empty when one may."""
        if not self._networks and not self._names:
            return NOT_ALLOWED
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            return "is not a valid URL"
        plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
        if len(url) > URL_MAX or not plain or parts.scheme not in {"http", "https"} or not host:
            return "is not a valid URL"
        if parts.username is not None or parts.password is not None:
            return "must not hold a user name or password"
        return "" if self._lists(host) else "is not a host that callbacks may go to"

    def admits(self, address: str) -> bool:
        """Whether a connection may go to that address: a public one, or one that the list holds."""
        found = _address(address)
        return found is not None and (self._holds(found) or (found.is_global and not found.is_multicast))

    def _lists(self, host: str) -> bool:
        if (address := _address(host)) is not None:
            return self._holds(address)
        name = host.lower().rstrip(".")
        return any(
            name == entry or (entry.startswith("*.") and name.endswith(entry[1:])) for entry in self._names
        )

    def _holds(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    """An address; one of IPv4 that is dressed as IPv6 counts as what it is."""
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
