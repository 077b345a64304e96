"""What most programs do, done once: the archive of classes (J2) is made of what that loads.

A class that is not in the archive costs a program half a millisecond or so. None of this runs but when an
archive is made, at a first start.
"""

from __future__ import annotations

from importlib import resources
from itertools import product

MAIN_CLASS = "Training"

_KINDS = {"Object": "o", "int": "i", "long": "j", "double": "d"}
"""What a joined value is to the virtual machine (but `float`): a string an object, a character an integer."""

_MOST = {1: "Object int long double", 2: "Object int long double", 3: "Object int"}
"""How many values are joined, and of which kinds every combination is trained."""


def sources() -> dict[str, str]:
    """Java sources by file name; `Training.run` is where they start."""
    library = resources.files("cluster.java").joinpath("harness/training/Training.java")
    return {"Training.java": library.read_text(encoding="utf-8"), "Shapes.java": _shapes()}


def _shapes() -> str:
    """Each kind of joining (`a + b`): its linkage is a method of its own, which an archive can hold ready."""
    every = [shape for count, kinds in _MOST.items() for shape in product(kinds.split(), repeat=count)]
    joined = (" + ".join(_KINDS[kind] for kind in shape) for shape in every)
    lines = "\n".join(f'        out.append("" + {text} + ";");' for text in joined)
    fields = "static Object o = 1; static int i; static long j; static double d;"
    return f"class Shapes {{\n    {fields}\n    static void all(StringBuilder out) {{\n{lines}\n    }}\n}}\n"
