"""Where a program starts (P2): decided by the compiled classes, never by its text and never by running it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from cluster.java.classfile import (
    ABSTRACT,
    INTERFACE,
    PRIVATE,
    PUBLIC,
    STATIC,
    ClassFile,
    MalformedClass,
    Method,
    parse,
)

RUN = "run"
MAIN = "main"

SHORT_FORMS = 25
"""The JDK that brought `void main()`, also of an object (JEP 512); before it, these were a preview."""

RESERVED = "javacluster.internal."
"""The launcher's package: its classes would hide a program's of the same name."""

_NAMED_MAX = 10
"""Candidates that a message names."""

_WORDS = ((PUBLIC, "public"), (PRIVATE, "private"), (STATIC, "static"), (ABSTRACT, "abstract"))

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
    return NoEntry(
        f"nothing to start: no class offers an entry point (classes: {names}); "
        f"{_nearly(parsed)}write {_WANTED}"
    )


def _named(by_name: Mapping[str, ClassFile], wanted: str) -> Entry | NoEntry:
    found = by_name.get(wanted) or by_name.get(wanted.replace(".", "$"))
    if found is None:
        names = ", ".join(sorted(by_name)[:_NAMED_MAX]) or "none"
        return NoEntry(f"the class `{wanted}` is not among the compiled classes: {names}")
    kind = _offer(found, by_name)
    if not kind:
        return NoEntry(f"the class `{wanted}` offers no entry point; {_nearly([found])}write {_WANTED}")
    return Entry(found.name, kind)


def _several(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED_MAX]) + (", ..." if len(names) > _NAMED_MAX else "")
    return f"several classes could be started: {shown}; name one of them as the main class"


def _offer(found: ClassFile, by_name: Mapping[str, ClassFile]) -> str:
    """`run`, `main`, or nothing; `run()` wins where both exist."""
    lineage = tuple(_lineage(found, by_name))
    concrete = not found.flags & (ABSTRACT | INTERFACE)
    if concrete and _constructs(found, PUBLIC) and any(_is_run(m) for c in lineage for m in c.methods):
        return RUN
    if any(_is_main(m) for c in lineage for m in c.methods):
        return MAIN
    if found.release >= SHORT_FORMS and any(_is_short(m, found) for c in lineage for m in c.methods):
        return MAIN
    return ""


def _is_run(method: Method) -> bool:
    fits = (method.name, method.descriptor) == ("run", "()Ljava/lang/String;")
    return fits and method.flags & (PUBLIC | STATIC) == PUBLIC


def _is_main(method: Method) -> bool:
    fits = (method.name, method.descriptor) == ("main", "([Ljava/lang/String;)V")
    return fits and method.flags & (PUBLIC | STATIC) == PUBLIC | STATIC


def _is_short(method: Method, started: ClassFile) -> bool:
    """`void main()` or `void main(String[])`, not private; of an object, if one can be made (JEP 512)."""
    if method.name != "main" or method.descriptor not in {"()V", "([Ljava/lang/String;)V"}:
        return False
    if method.flags & STATIC:
        return not method.flags & PRIVATE
    makes = not started.flags & (ABSTRACT | INTERFACE) and _constructs(started, 0)
    return makes and not method.flags & PRIVATE


def _constructs(found: ClassFile, visible: int) -> bool:
    """Whether it has a constructor without parameters: a public one, or else any that is not private."""
    return any(
        m.name == "<init>"
        and m.descriptor == "()V"
        and not m.flags & PRIVATE
        and m.flags & visible == visible
        for m in found.methods
    )


def _nearly(parsed: Iterable[ClassFile]) -> str:
    """What looks like an entry point to its author, and why it is none; empty if nothing does."""
    for found in parsed:
        for method in found.methods:
            if _is_run(method):
                return f"`{found.name}` has `run()`, but {_unmakeable(found)}; "
            if _is_short(method, found) and 0 < found.release < SHORT_FORMS:
                return (
                    f"`{_declared(method)}` of `{found.name}` is one of the shorter forms, which came with "
                    f"JDK {SHORT_FORMS}, and this one is JDK {found.release}; "
                )
            if method.name in {RUN, MAIN}:
                return f"`{_declared(method)}` of `{found.name}` is not quite one; "
    return ""


def _unmakeable(found: ClassFile) -> str:
    if found.flags & INTERFACE:
        return "it is an interface"
    return "it is abstract" if found.flags & ABSTRACT else "it has no public constructor without parameters"


_PRIMITIVES = {"V": "void", "I": "int", "J": "long", "Z": "boolean", "D": "double", "F": "float"}
_PRIMITIVES |= {"B": "byte", "C": "char", "S": "short"}
_TYPE = re.compile(r"(\[*)(?:L([^;]*);|(.))")


def _declared(method: Method) -> str:
    """As its author wrote it, about."""
    given, _, returned = method.descriptor.removeprefix("(").partition(")")
    words = [word for flag, word in _WORDS if method.flags & flag]
    return " ".join([*words, _types(returned), f"{method.name}({_types(given)})"])


def _types(descriptor: str) -> str:
    return ", ".join(
        (name.rpartition("/")[2] if name else _PRIMITIVES.get(letter, letter)) + "[]" * len(arrays)
        for arrays, name, letter in _TYPE.findall(descriptor)
    )


def _lineage(found: ClassFile, by_name: Mapping[str, ClassFile]) -> Iterator[ClassFile]:
    """The class and those of its superclasses that belong to the program."""
    current: ClassFile | None = found
    for _ in range(_LINEAGE_MAX):
        if current is None:
            return
        yield current
        current = by_name.get(current.superclass)
