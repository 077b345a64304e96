"""`javacluster keys`: tokens made, listed and taken back (H9)."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cluster import tokens
from cluster.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.yml"


def run(file: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["keys", *args, "--file", str(file)])


def test_a_token_is_printed_once_and_kept_as_a_hash(file: Path) -> None:
    done = run(file, "token", "ann", "--rate", "2.5", "--share", "3")
    assert done.exit_code == 0
    secret = done.stdout.strip()
    assert secret.startswith(tokens.PREFIX)
    assert secret not in file.read_text()
    (entry,) = tokens.load(file)
    assert (entry.name, entry.rate, entry.burst, entry.share) == ("ann", 2.5, 20, 3)
    assert entry.sha256 == tokens.digest_of(secret)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert run(file, "token", "bob").stdout.strip() != secret


def test_a_tenant_changes_over_from_one_token_to_the_next(file: Path) -> None:
    run(file, "token", "ann", "--rate", "5")
    run(file, "token", "ann")
    first, second = tokens.load(file)
    assert (first.rate, second.rate) == (5, 5)
    done = run(file, "revoke", first.sha256[:8])
    assert done.exit_code == 0
    assert tokens.load(file) == (second,)
    assert run(file, "revoke", "ann").exit_code == 0
    assert tokens.load(file) == ()


def test_the_list_shows_no_more_than_the_file(file: Path) -> None:
    secret = run(file, "token", "ann").stdout.strip()
    shown = run(file, "list")
    assert "ann" in shown.stdout
    assert secret not in shown.stdout
    assert json.loads(run(file, "list", "--json").stdout)[0]["name"] == "ann"


@pytest.mark.parametrize(
    "args",
    [
        ("token", "a b"),
        ("token", "a" * 65),
        ("token", "x", "--rate", "-1"),
        ("token", "x", "--rate", "0"),
        ("token", "x", "--burst", "0"),
        ("token", "ann", "--rate", "0"),
        ("token", "ann", "--rate", "7"),
        ("revoke", "nobody"),
        ("revoke", "00000000"),
    ],
)
def test_what_can_not_be_is_said_in_one_line_and_changes_nothing(file: Path, args: tuple[str, ...]) -> None:
    run(file, "token", "ann")
    before = file.read_text()
    done = run(file, *args)
    assert done.exit_code == 78
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert file.read_text() == before


def test_a_file_that_is_not_there_or_not_one_of_ours_is_left_alone(file: Path) -> None:
    assert "keys token" in run(file, "list").stderr
    file.write_text("tokens: 7\n")
    assert run(file, "token", "ann").exit_code == 78
    assert file.read_text() == "tokens: 7\n"
