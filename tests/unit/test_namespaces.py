"""Networks of nodes whose links can be cut: names and addresses, and real cuts where the machine allows."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster import namespaces
from cluster.namespaces import Namespaces

INTERFACE_MAX = 15
"""Characters of an interface's name (IFNAMSIZ of if.h, less its end)."""

_LISTEN = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 7)); s.settimeout(20)
print("ready", flush=True)
print(s.recv(100).decode(), flush=True)
"""
_SAY = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), (sys.argv[1], 7))
"""


def test_names_fit_and_addresses_differ() -> None:
    network = Namespaces(255)
    assert len(f"{network.bridge}v99") <= INTERFACE_MAX
    addresses = [network.address(node) for node in range(100)]
    assert len(set(addresses)) == len(addresses)
    assert f"198.18.255.{namespaces.GATE}" not in addresses


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert namespaces.missing() == "it needs root"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "nft" else f"/sbin/{tool}")
    assert namespaces.missing() == "nft not on the PATH"


@pytest.mark.skipif(bool(namespaces.missing()), reason="needs root, ip and nft")
def test_a_cut_is_one_way_and_silent_and_heals() -> None:
    with namespaces.namespaces((0, 1)) as network:
        namespaces.cut(network, [(0, 1)])
        with _listener(network, 1) as deaf, _listener(network, 0) as hears:
            _say(network, 1, 0, "the other way")
            assert _line(hears) == "the other way"
            _say(network, 0, 1, "never arrives")
            namespaces.heal(network, (0, 1))
            _say(network, 0, 1, "healed")
            assert _line(deaf) == "healed"
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert network.name(0) not in listed
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    assert network.bridge not in links, "the next network may take these names at once"


def _listener(network: Namespaces, node: int) -> subprocess.Popen[str]:
    """A process in that node's namespace, listening, that prints the first datagram."""
    command = [*network.inside(node), sys.executable, "-c", _LISTEN]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert _line(listener) == "ready"
    return listener


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _say(network: Namespaces, node: int, to: int, text: str) -> None:
    command = [*network.inside(node), sys.executable, "-c", _SAY, network.address(to), text]
    subprocess.run(command, check=True)
