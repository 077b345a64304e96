"""What `make` installs goes with every Python that `pyproject.toml` promises.

pip finds no candidate otherwise, and on the older interpreter alone: Debian 12 has Python 3.11.2.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent.parent


def _lowest_python() -> str:
    """The bound in `requires-python`, e.g. 3.11.0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bound,) = SpecifierSet(project["requires-python"])
    assert bound.operator == ">="
    return f"{bound.version}.0"


def test_what_is_installed_takes_the_oldest_python() -> None:
    lowest = _lowest_python()
    needs = {
        f"{one.name} {one.version}": str(one.metadata.json.get("requires_python", ""))
        for one in distributions()
    }
    assert len(needs) > 50, "the tools of the development group are among them"
    newer = {name: need for name, need in needs.items() if lowest not in SpecifierSet(need)}
    assert newer == {}
