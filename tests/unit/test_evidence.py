"""The evidence of real clusters convicts whoever broke an invariant, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.identity import NodeId
from tests.integration.evidence import Claim, contradictions, read_logs
from tests.support.world import World

T = "2026-01-01T00:00:00.000Z"


def logs(tmp_path: Path, **nodes: list[str]) -> dict[int, Path]:
    found = {}
    for name, lines in nodes.items():
        number = int(name.removeprefix("n"))
        directory = tmp_path / name
        (directory / "log").mkdir(parents=True)
        text = "".join(f"{T} {number}: {line}\n" for line in lines)
        (directory / "log" / "verbose.log").write_text(text)
        found[number] = directory
    return found


def test_honest_logs_break_nothing(tmp_path: Path) -> None:
    given = logs(
        tmp_path,
        n1=[
            "started as peer, boot 5",
            "promising epoch 1 to server 2",
            "running job 0123abcd, attempt 1, epoch 1",
        ],
        n2=["started as peer, boot 5", "leading epoch 1", "started as peer, boot 6", "leading epoch 3"],
    )
    told = read_logs(given)
    assert told.broken == []
    assert told.led == {1: (2, 5), 3: (2, 6)}
    assert told.lines == {1: 3, 2: 4}


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (["promising epoch 4 to server 2", "promising epoch 4 to server 3"], "I3"),
        (["started as peer, boot 5", "started as peer, boot 5"], "N3"),
        (["running job 0123abcd, attempt 1, epoch 4", "running job 0123abce, attempt 1, epoch 3"], "I5"),
        (["leading epoch 9"], "I1"),
        (["leading epoch 4", "promising epoch 4 to server 2"], "I3"),
        (["promising epoch 4 to server 2", "started as peer, boot 8", "leading epoch 4"], "I3"),
        (["started as peer, boot 5", "leading epoch 4", "started as peer, boot 6", "leading epoch 4"], "I1"),
    ],
)
def test_a_log_convicts_its_node(tmp_path: Path, lines: list[str], rule: str) -> None:
    found = read_logs(logs(tmp_path, n2=["leading epoch 9"], n1=lines)).broken
    assert [text.split()[0] for text in found] == [rule]


def test_rotated_logs_are_read_the_oldest_first(tmp_path: Path) -> None:
    given = logs(tmp_path, n1=["started as peer, boot 7"])
    (given[1] / "log" / "verbose.log.1").write_text(f"{T} 1: started as peer, boot 6\n")
    (given[1] / "log" / "verbose.log.2").write_text(f"{T} 1: started as peer, boot 5\n")
    assert read_logs(given).broken == []


def test_what_real_cores_say_is_understood(tmp_path: Path) -> None:
    """Or else other words in a core would make every cluster look honest."""
    world = World(3)
    assert world.run_until(world.settled, 5)
    assert world.run_until(world.answered(*(world.ask(f"hello {n}") for n in range(3))), 5)
    first = world.leader()
    assert first is not None
    world.crash(first)
    assert world.run_until(lambda: world.leader() not in {None, first}, 5)
    world.start(first)
    assert world.run_until(world.settled, 5)
    said: dict[str, list[str]] = {}
    for _, node, text in world.logs:
        said.setdefault(f"n{node}", []).append(text.partition(": ")[2])
    told = read_logs(logs(tmp_path, **said))
    assert told.broken == []
    assert {epoch: NodeId(node) for epoch, (node, _boot) in told.led.items()} == {
        epoch: node for epoch, (node, _boot) in world.led.items()
    }
    everything = "\n".join(text for lines in said.values() for text in lines)
    for words in ("promising epoch", "running job", "started as peer, boot"):
        assert words in everything
    assert sum(told.lines.values()) >= 3 * 2 + 4 + 3


def test_two_may_not_claim_to_lead_one_after_the_other_and_back() -> None:
    old, new = Claim(1, 4, 0.0, 0.1), Claim(2, 5, 1.0, 1.1)
    assert contradictions([old, new]) == []
    assert contradictions([old, new, Claim(1, 4, 1.05, 1.2)]) == []  # may have been answered before
    assert contradictions([old, new, Claim(1, 4, 1.2, 1.3)]) == ["I6 node 1 claims epoch 4 after 2 led 5"]
    assert contradictions([old, Claim(2, 4, 0.5, 0.6)]) == ["I1 epoch 4 is claimed by 1 and 2"]
