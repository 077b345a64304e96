"""What the roles say of their variables is what they have (deployment D3)."""

from __future__ import annotations

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
