"""What the roles say of their variables is what they have (deployment D3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted((Path(__file__).resolve().parents[2] / "roles").iterdir())


def read(path: Path) -> dict[str, Any]:
    decoded: dict[str, Any] = yaml.safe_load(path.read_text())
    return decoded


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_argument_specs_and_defaults_name_the_same_variables(role: Path) -> None:
    options = read(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    specified = {
        name: option.get("default") for name, option in options.items() if not option.get("required")
    }
    assert specified == read(role / "defaults" / "main.yml")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_prefixed_by_its_role(role: Path) -> None:
    assert [
        name for name in read(role / "defaults" / "main.yml") if not name.startswith(f"{role.name}_")
    ] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_role_names_an_inventory_group(role: Path) -> None:
    files = [file for file in role.rglob("*") if file.suffix in {".yml", ".j2"}]
    assert [file for file in files if "groups[" in file.read_text()] == []


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every task, those in blocks with what their blocks say of `--check`."""
    for task in tasks:
        inside = [one for part in ("block", "rescue", "always") for one in task.get(part, ())]
        yield from flat([{"check_mode": task.get("check_mode"), **one} for one in inside])
        if not inside:
            yield task


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_rehearsal_reads_nothing_that_no_command_has_said(role: Path) -> None:
    """Under `--check` a command is skipped, and what it would have written is not there to be compared."""
    for file in (role / "tasks").glob("*.yml"):
        tasks = list(flat(yaml.safe_load(file.read_text())))
        for task in tasks:
            said = task.get("register")
            if (
                "ansible.builtin.command" not in task
                or said is None
                or f"{said}.stdout" not in file.read_text()
            ):
                continue
            told = "ansible_check_mode" in str(task.get("when")) or task.get("check_mode") is False
            assert told, f"{file.name}: {task['name']}"
