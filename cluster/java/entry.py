"""Where a program starts (P2): decided by the compiled classes, never by its text and never by running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from cluster.java.classfile import ABSTRACT, INTERFACE, PUBLIC, STATIC, ClassFile, MalformedClass, parse

RUN = "run"
MAIN = "main"

RESERVED = "javacluster.internal."
"""The launcher's package: its classes would hide a program's of the same name."""

_NAMED_MAX = 10
"""Candidates that a message names."""

_LINEAGE_MAX = 100
"""Superclasses that are followed."""

_WANTED = (
    "a class with `public String run()` and a public no-argument constructor, "
    "or `public static void main(String[])`"
)


@attrs.frozen
class Entry:
    """The class to start, and which of the two contracts it offers."""

    main_class: str
    kind: str


@attrs.frozen
class NoEntry:
    """Why there is nothing to start; a sentence for the author of the program."""

    message: str


def choose(classes: Iterable[bytes], wanted: str = "") -> Entry | NoEntry:
    """Find the class to start: the one called `wanted`, else the one public class, else the only candidate.

    Args:
        classes: the compiled class files.
        wanted: a class named by the caller, with dots or slashes; empty for none.
    """
    try:
        parsed = [parse(data) for data in classes]
    except MalformedClass as error:
        return NoEntry(f"the compiler produced a class file that can't be read: {error}")
    by_name = {found.name: found for found in parsed}
    if any(name.startswith(RESERVED) for name in by_name):
        return NoEntry(f"the package `{RESERVED.rstrip('.')}` is the runner's own: choose another name")
    if wanted:
        return _named(by_name, wanted.replace("/", "."))
    top_level = [found for found in parsed if not found.nested]
    public = [found for found in top_level if found.flags & PUBLIC]
    groups = (public, top_level, parsed) if len(public) == 1 else (top_level, parsed)
    for group in groups:
        candidates = [(found.name, kind) for found in group if (kind := _offer(found, by_name))]
        if len(candidates) == 1:
            return Entry(*candidates[0])
        if candidates:
            return NoEntry(_several(sorted(name for name, _ in candidates)))
    names = ", ".join(sorted(by_name)[:_NAMED_MAX]) or "none"
    return NoEntry(f"nothing to start: no class offers an entry point (classes: {names}); write {_WANTED}")


def _named(by_name: Mapping[str, ClassFile], wanted: str) -> Entry | NoEntry:
    found = by_name.get(wanted) or by_name.get(wanted.replace(".", "$"))
    if found is None:
        names = ", ".join(sorted(by_name)[:_NAMED_MAX]) or "none"
        return NoEntry(f"the class `{wanted}` is not among the compiled classes: {names}")
    kind = _offer(found, by_name)
    if not kind:
        return NoEntry(f"the class `{wanted}` offers no entry point; write {_WANTED}")
    return Entry(found.name, kind)


def _several(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED_MAX]) + (", ..." if len(names) > _NAMED_MAX else "")
    return f"several classes could be started: {shown}; name one of them as the main class"


def _offer(found: ClassFile, by_name: Mapping[str, ClassFile]) -> str:
    """`run`, `main`, or nothing; `run()` wins where both exist."""
    concrete = not found.flags & (ABSTRACT | INTERFACE)
    constructs = any(m.name == "<init>" and m.descriptor == "()V" and m.flags & PUBLIC for m in found.methods)
    offers_main = False
    for ancestor in _lineage(found, by_name):
        for method in ancestor.methods:
            static = bool(method.flags & STATIC)
            if not method.flags & PUBLIC:
                continue
            if (method.name, method.descriptor) == ("run", "()Ljava/lang/String;"):
                if concrete and constructs and not static:
                    return RUN
            elif (method.name, method.descriptor) == ("main", "([Ljava/lang/String;)V"):
                offers_main = offers_main or static
    return MAIN if offers_main else ""


def _lineage(found: ClassFile, by_name: Mapping[str, ClassFile]) -> Iterator[ClassFile]:
    """The class and those of its superclasses that belong to the program."""
    current: ClassFile | None = found
    for _ in range(_LINEAGE_MAX):
        if current is None:
            return
        yield current
        current = by_name.get(current.superclass)
