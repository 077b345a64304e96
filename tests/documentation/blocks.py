"""The code blocks of a page, and which of them are run: a comment before a block says so.

`<!-- run -->` before a block: it is executed. `<!-- prints -->` before the one after it: its lines are in the
output, in order, with `…` for anything. `<!-- not run: WHY -->`: it is not, for that reason.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

import attrs

COMMAND = re.compile(
    r"^\s*(sudo |[A-Z_]+=\S+ )*(\.venv/bin/)?(javacluster|make|curl|vagrant|ansible\S*|systemctl|python) "
)
"""How a line begins that somebody might type."""

_FENCE = re.compile(r"^( *)(```+)\s*([\w-]*)[^`]*$")
_MARK = re.compile(r"^ *<!-- (run|prints|not run: .+) -->$")


@attrs.frozen
class Block:
    """One of them.

    Attributes:
        line: where it begins, from 1.
        language: of a fence; empty for one that is only indented.
        mark: `run`, `prints`, `not run: …`, or empty.
    """

    line: int
    language: str
    mark: str
    text: str

    @property
    def commands(self) -> bool:
        """Whether it holds something to type."""
        if self.language in {"sh", "python"}:
            return True
        return self.language in {"", "console"} and any(map(COMMAND.match, self.text.splitlines()))


def blocks_of(page: str) -> Iterator[Block]:
    """All of them, in order."""
    lines = page.splitlines()
    at = 0
    mark = ""
    while at < len(lines):
        line = lines[at]
        if found := _MARK.match(line):
            mark = found[1]
        elif fence := _FENCE.match(line):
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == fence[2])
            text = textwrap.dedent("\n".join(lines[at + 1 : end]))
            yield Block(at + 1, fence[3], mark, text)
            mark, at = "", end
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()) and not _in_list(lines, at):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block(at + 1, "", mark, textwrap.dedent("\n".join(lines[at:end])).strip())
            mark, at = "", end - 1
        elif line.strip():
            mark = ""
        at += 1


def _in_list(lines: list[str], at: int) -> bool:
    """An indented line under an item of a list goes on with the item."""
    for line in reversed(lines[:at]):
        if line.strip() and not line.startswith(" "):
            return bool(re.match(r"([-*+]|\d+\.) ", line))
    return False


def missing(printed: str, output: str) -> str:
    """The first line of `printed` that is not in `output` behind the ones before it; empty if all are."""
    rest = output
    for line in printed.splitlines():
        wanted = ".*".join(re.escape(part) for part in line.strip().split("…"))
        found = re.search(wanted, rest)
        if found is None:
            return line
        rest = rest[found.end() :]
    return ""
