"""`replay --canary`: what the simulator found in a mutation is told, and made smaller."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.simulation import __main__ as cli
from tests.simulation import absence_sweep, mutations
from tests.simulation.canaries import schedule_of
from tests.simulation.generate import generate
from tests.simulation.schedule import Knobs, dump, load


def replay(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["simulation", "replay", *words])
    return cli.main()


def test_a_canary_is_told_and_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the cores are whole again afterwards."""
    plain, small = tmp_path / "plain.json", tmp_path / "small.json"
    plain.write_bytes(dump(msgspec.structs.replace(generate(0), faults=(), asks=(), chaos_ms=2000)))
    canary = ("--canary", "promise not durable")
    assert replay(monkeypatch, str(plain), *canary) == 1
    told = capsys.readouterr().out
    assert "seed 0: peers" in told
    assert "I2 node" in told
    assert replay(monkeypatch, str(plain), *canary, "--quiet", "--shrink", str(small)) == 1
    assert load(small.read_bytes()).knobs == Knobs()
    assert replay(monkeypatch, str(small), "--quiet") == 0


def test_a_canary_of_gossip_alone_has_no_schedule(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(monkeypatch, "0", "--canary", "tombstone forgotten") == cli.USAGE
    assert "gossip alone" in capsys.readouterr().out


def test_a_canary_is_replayed_where_it_was_hunted() -> None:
    assert schedule_of(mutations.AGAIN, 3) == absence_sweep.generate(3)
    assert schedule_of("no fsync", 3) == schedule_of(None, 3) == generate(3)
