"""One target under atheris, which looks for inputs that reach new code.

    python -m tests.fuzz.guided COMMAND MODULE NAME ...

COMMAND is what starts this again, with what follows, which is for libFuzzer. `__main__.py` does: libFuzzer
ends its process.
"""

from __future__ import annotations

import importlib
import sys

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # in a group of its own


def main() -> None:
    """Never returns."""
    command, module, name = sys.argv[1:4]
    with atheris.instrument_imports(include=["cluster", "yaml"]):
        targets = importlib.import_module(module).TARGETS
    target = next(target for target in targets if target.name == name)
    atheris.Setup([command, *sys.argv[4:]], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
