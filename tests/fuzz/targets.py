"""Every target, by name, and the module that it is in."""

from __future__ import annotations

from tests.fuzz import bodies, files, http, java, mind, wire
from tests.fuzz.target import Target

_MODULES = (wire, mind, bodies, http, files, java)

TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}

MODULE_OF: dict[str, str] = {target.name: module.__name__ for module in _MODULES for target in module.TARGETS}
"""So that a process that looks at one target needs to load no other's code."""
