"""An outsider's flood: `python -m tests.integration.flooding` measures what it costs a cluster (issue 7).

It knows the cluster's name, the members and the form of a header, everything but the key.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import attrs
import yaml

from cluster.version import PROTOCOL_VERSION
from cluster.wire.sealing import DATAGRAM_MAX, HEADER, MAGIC, cluster_hash
from tests.integration.live import HELLO, Live, live_cluster

BATCH = 100


def forged(cluster: str, sender: int, to: int, number: int) -> bytes:
    """The costliest of all: everything is right, and of a new life each time, but for the seal."""
    header = HEADER.pack(MAGIC, PROTOCOL_VERSION, 1, cluster_hash(cluster), sender, 2**32 + number, 1, to, 1)
    return header + os.urandom(100)


def send(config: Path, per_second: float, seconds: float) -> int:
    """Flood every node of a configuration by turns; gives back how many datagrams were sent."""
    read = yaml.safe_load(config.read_text())
    members = [(member["id"], (member["host"], member["udp"])) for member in read["members"]]
    ids = [number for number, _ in members]
    junk = [b"", b"x", os.urandom(200), os.urandom(DATAGRAM_MAX + 100)]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    began = time.monotonic()
    sent = 0
    for turn in itertools.count():
        for node, where in members:
            for number in range(BATCH // 2):
                sock.sendto(forged(read["cluster"], ids[(node + 1) % len(ids)], node, sent + number), where)
                sock.sendto(junk[(turn + number) % len(junk)], where)
            sent += 2 * (BATCH // 2)
        now = time.monotonic()
        if now - began >= seconds:
            return sent
        if (ahead := sent / per_second - (now - began)) > 0:
            time.sleep(ahead)
    return sent


@attrs.frozen
class Seen:
    """What clients and the cluster made of some seconds: failures, milliseconds an answer, epochs begun."""

    answers: int
    failures: tuple[str, ...]
    p50_ms: float
    worst_ms: float
    elections: int

    def __str__(self) -> str:
        return (
            f"{self.answers} answers, {len(self.failures)} wrong or lost, p50 {self.p50_ms:.0f} ms, "
            f"worst {self.worst_ms:.0f} ms, {self.elections} elections"
        )


def watch(cluster: Live, tag: str, stop: threading.Event) -> Seen:
    """Distinct programs, one after another, until told to stop."""
    epoch = cluster.info()["epoch"]
    took: list[float] = []
    failures: list[str] = []
    for number in itertools.count():
        if stop.is_set():
            break
        text = f"{tag} {number}"
        began = time.monotonic()
        answer = cluster.run(HELLO.format(text))
        took.append(1000 * (time.monotonic() - began))
        if (answer.status, answer.text) != (200, f"Hello world! {text}"):
            failures.append(f"{answer.status} {answer.text[:200]}")
    elections = cluster.info()["epoch"] - epoch
    return Seen(len(took), tuple(failures), statistics.median(took), max(took), elections)


def dropped(cluster: Live, node: int) -> dict[str, float]:
    """A node's refused datagrams by reason, from its metrics."""
    text = cluster.request("GET", "/metrics", node=node).text
    found = {}
    for line in text.splitlines():
        if line.startswith("javacluster_messages") and 'what="dropped"' in line:
            found[line.split('kind="')[1].split('"')[0]] = float(line.rsplit(" ", 1)[1])
    return found


def flooded(cluster: Live, per_second: float, seconds: float) -> tuple[Seen, int]:
    """Watch while a process of its own floods; gives back what was seen, and how much was sent."""
    config = cluster.directory / "node-1" / "node.yml"
    stop = threading.Event()
    arguments = ["send", str(config), str(per_second), str(seconds)]
    flooder = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.flooding", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )

    def until_it_ends() -> None:
        flooder.wait()
        stop.set()

    threading.Thread(target=until_it_ends).start()
    seen = watch(cluster, "through the flood", stop)
    out, _ = flooder.communicate()
    assert flooder.returncode == 0
    return seen, int(json.loads(out))


def main() -> None:
    """Flood a cluster of its own after as many calm seconds, and print both."""
    if sys.argv[1:2] == ["send"]:
        print(send(Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))  # noqa: T201
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=float, default=50_000)
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, live_cluster(Path(directory) / "c") as cluster:
        stop = threading.Event()
        threading.Timer(asked.seconds, stop.set).start()
        print("calm:   ", watch(cluster, "calm", stop))  # noqa: T201
        seen, sent = flooded(cluster, asked.per_second, asked.seconds)
        print("flooded:", seen)  # noqa: T201
        print(f"         {sent / asked.seconds:.0f} datagrams a second sent")  # noqa: T201
        for node in range(4):
            print(f"node {node} refused", dropped(cluster, node))  # noqa: T201


if __name__ == "__main__":
    main()
