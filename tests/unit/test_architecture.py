"""The house keeps its own rules (architecture A1, A2): what imports what, and how long a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "cluster").rglob("*.py"))
CEILING = 400
"""Lines of a module."""


def _loaded(statement: str) -> set[str]:
    """What a fresh process has loaded after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


def _name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", ["cluster.core", "cluster.wire"])
def test_the_pure_floors_load_no_framework(package: str) -> None:
    floor = ROOT / package.replace(".", "/")
    statements = "\n".join(f"import {_name(file)}" for file in sorted(floor.rglob("*.py")))
    loaded = _loaded(statements)
    assert package in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"twisted", "zope", "klein", "treq"}}


def test_the_command_line_leaves_the_choice_of_the_reactor_to_the_node() -> None:
    assert "twisted.internet.reactor" not in _loaded("import cluster.cli")


def test_the_pure_floors_ask_for_no_time_and_no_chance() -> None:
    banned = {"time", "datetime", "socket", "asyncio", "threading", "subprocess", "secrets"}
    offences = [
        (_name(file), name)
        for floor in ("core", "wire")
        for file in sorted((ROOT / "cluster" / floor).rglob("*.py"))
        for name in _imports(file)
        if name.partition(".")[0] in banned
    ]
    assert offences == []


def test_only_the_command_line_imports_the_global_reactor() -> None:
    importers = {_name(file) for file in MODULES if "twisted.internet.reactor" in _imports(file)}
    assert importers <= {"cluster.cli"}


def test_only_one_module_knows_klein() -> None:
    importers = {
        _name(file) for file in MODULES if any(n.partition(".")[0] == "klein" for n in _imports(file))
    }
    assert importers <= {"cluster.gateway.app"}


def test_a_module_too_long_to_read_says_why() -> None:
    long = [file for file in MODULES if len(file.read_text().splitlines()) > CEILING]
    assert [_name(file) for file in long if "Longer than" not in _docstring(file)] == []


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def _imports(file: Path) -> set[str]:
    """Every module, and every name in one, that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found
