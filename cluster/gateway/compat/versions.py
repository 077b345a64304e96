"""Which JDK a version selector means: `*`, `17.0.15`, `17.x`, `^17`, `~17.0`, `>=11`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SELECTOR = re.compile(
    r"(\^|~|>=|<=|>|<|=|v)?\s*([0-9]{1,9}(?:\.(?:[0-9]{1,9}|[xX*])){0,9}|[*xX])(?:[-+].*)?"
)

Numbers = tuple[int, ...]


def newest_matching(versions: Sequence[str], selector: str) -> str | None:
    """The newest of `versions` that the selector allows.

    An exact version that is not there, but older than one that is, is met by the newest: a program for an
    older JDK runs on a newer one, and clients have the version of their former server in their settings.
    """
    found = _SELECTOR.fullmatch(selector.strip())
    known = sorted({version: numbers_of(version) for version in versions}.items(), key=lambda pair: pair[1])
    if found is None or not known:
        return None
    sign, wanted = found[1] or "", found[2]
    parts = wanted.split(".")
    fixed = tuple(int(part) for part in parts if part.isdigit())
    ranged = len(fixed) < len(parts)
    matching = [version for version, numbers in known if _meets(numbers, sign, fixed)]
    if matching:
        return matching[-1]
    newest, numbers = known[-1]
    return newest if sign in {"", "=", "v"} and not ranged and fixed < numbers else None


def numbers_of(version: str) -> Numbers:
    """`17.0.15` as numbers; what is no number ends them."""
    found = re.match(r"[0-9]{1,9}(\.[0-9]{1,9})*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _meets(numbers: Numbers, sign: str, fixed: Numbers) -> bool:
    if sign in {">=", ">", "<=", "<"}:
        same = numbers[: len(fixed)] == fixed
        return {
            ">=": numbers >= fixed,
            ">": numbers > fixed and not same,
            "<=": numbers <= fixed or same,
            "<": numbers < fixed,
        }[sign]
    if sign == "^":
        return numbers[:1] == fixed[:1] and numbers >= fixed
    if sign == "~":
        kept = fixed[:2]
        return numbers[: len(kept)] == kept and numbers >= fixed
    return numbers[: len(fixed)] == fixed
