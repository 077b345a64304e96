"""A network namespace for each node of a local cluster, so that what is between two of them can be cut.

All namespaces hang on one bridge. A cut drops, at the receiver, what a sender's address sends: in silence, as
a broken switch does, and one way if only one way is asked for. Needs root, `ip` (iproute2) and `nft`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from cluster.errors import EnvironmentFault

TOOLS = ("ip", "nft", "nsenter")
NUMBERS = range(256)
"""One network each: 198.18.N.0/24, of the block that RFC 2544 sets aside for measuring."""

GATE = 254
"""This machine's own address on the bridge."""

Link = tuple[int, int]
"""From one node to another."""

_TABLE = """
table ip cuts {
  set senders { type ipv4_addr; }
  chain input { type filter hook input priority 0; ip saddr @senders drop; }
}
"""


def missing() -> str:
    """What this machine lacks for it, for people; empty when nothing."""
    if os.geteuid() != 0:
        return "it needs root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{', '.join(lacking)} not on the PATH" if lacking else ""


class Namespaces(msgspec.Struct, frozen=True):
    """The names and addresses of one such network."""

    number: int

    @property
    def bridge(self) -> str:
        """The bridge's interface."""
        return f"jcd{self.number}"

    def name(self, node: int) -> str:
        """A node's namespace."""
        return f"jcd{self.number}n{node}"

    def outer(self, node: int) -> str:
        """The host's end of a node's link, on the bridge."""
        return f"{self.bridge}v{node}"

    def address(self, node: int) -> str:
        """Where a node listens."""
        return f"198.18.{self.number}.{node + 1}"

    def inside(self, node: int) -> list[str]:
        """What goes before a command so that it runs in a node's namespace, as the same process."""
        return ["nsenter", f"--net=/run/netns/{self.name(node)}", "--"]


@contextlib.contextmanager
def namespaces(nodes: Iterable[int]) -> Iterator[Namespaces]:
    """Make a network for these nodes; afterwards it is gone, and whatever had its address there.

    Raises:
        EnvironmentFault: it can't be made.
    """
    made = _free()
    nodes = tuple(nodes)
    try:
        _run("ip", "address", "add", f"198.18.{made.number}.{GATE}/24", "dev", made.bridge)
        _run("ip", "link", "set", made.bridge, "up")
        for node in nodes:
            _add(made, node)
        yield made
    finally:
        for command in (
            # Not only with its namespace, which the kernel takes apart later: the next has these names.
            *(["ip", "link", "delete", made.outer(node)] for node in nodes),
            *(["ip", "netns", "delete", made.name(node)] for node in nodes),
            ["ip", "link", "delete", made.bridge],
        ):
            subprocess.run(command, capture_output=True, check=False)


def cut(network: Namespaces, links: Iterable[Link]) -> None:
    """Nothing passes from the first to the second of each pair, until `heal`."""
    senders: dict[int, list[str]] = defaultdict(list)
    for sender, receiver in links:
        senders[receiver].append(network.address(sender))
    for receiver, addresses in senders.items():
        elements = "{ " + ", ".join(sorted(addresses)) + " }"
        _run(*network.inside(receiver), "nft", "add", "element", "ip", "cuts", "senders", elements)


def heal(network: Namespaces, nodes: Iterable[int]) -> None:
    """Everything passes again."""
    for node in nodes:
        _run(*network.inside(node), "nft", "flush", "set", "ip", "cuts", "senders")


def _free() -> Namespaces:
    """A network that nobody has, its bridge made: that is what reserves it."""
    for number in NUMBERS:
        made = Namespaces(number)
        command = ["ip", "link", "add", made.bridge, "type", "bridge"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return made
        if "exists" not in done.stderr:
            raise EnvironmentFault(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    raise EnvironmentFault("256 networks of drills are there already: `ip link delete jcd0` removes one")


def _add(network: Namespaces, node: int) -> None:
    name, outer = network.name(node), network.outer(node)
    _run("ip", "netns", "add", name)
    _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
    _run("ip", "link", "set", outer, "master", network.bridge, "up")
    _run("ip", "-n", name, "address", "add", f"{network.address(node)}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _run("ip", "-n", name, "link", "set", device, "up")
    _run(*network.inside(node), "nft", "--file", "-", standard_input=_TABLE)


def _run(*command: str, standard_input: str = "") -> None:
    done = subprocess.run(command, input=standard_input, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EnvironmentFault(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
