"""Where a program starts (P2): decided by the compiled classes, never by its text and never by running it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping

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
    parsing,
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

_FILE_NAME_MAX, _PATH_MAX = 255, 4000
"""Bytes of a file's name, as most file systems have it, and of a path to a class."""
_SHOWN = 60
"""Letters of a name that is longer than any file's."""

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
    steps = choosing(classes, wanted)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            chosen: Entry | NoEntry = end.value
            return chosen


def choosing(classes: Iterable[bytes], wanted: str = "") -> Generator[None, None, Entry | NoEntry]:
    """The same in steps of a millisecond or so, for a node that has other things to do meanwhile."""
    parsed: list[ClassFile] = []
    by_name: dict[str, _Offering] = {}
    try:
        for data in classes:
            found = yield from parsing(data)
            parsed.append(found)
            by_name[found.name] = _offering(found)
            yield
    except MalformedClass as error:
        return NoEntry(f"the compiler produced a class file that can't be read: {error}")
    if unwritable := next(filter(_too_long, by_name), ""):
        return NoEntry(
            f"{unwritable[:_SHOWN]}... is too long a name for a class: no file can be called like it"
        )
    if any(name.startswith(RESERVED) for name in by_name):
        return NoEntry(f"the package `{RESERVED.rstrip('.')}` is the runner's own: choose another name")
    if wanted:
        return _named(by_name, wanted.replace("/", "."))
    top_level = [found for found in parsed if not found.nested]
    public = [found for found in top_level if found.flags & PUBLIC]
    groups = (public, top_level, parsed) if len(public) == 1 else (top_level, parsed)
    for group in groups:
        candidates: list[Entry] = []
        for found in group:
            if kind := _offer(by_name[found.name], by_name):
                candidates.append(Entry(found.name, kind))
            yield
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            return NoEntry(_several(sorted(candidate.main_class for candidate in candidates)))
    names = ", ".join(sorted(by_name)[:_NAMED_MAX]) or "none"
    return NoEntry(
        f"nothing to start: no class offers an entry point (classes: {names}); "
        f"{_nearly(parsed)}write {_WANTED}"
    )


@attrs.frozen
class _Offering:
    """What a class has to start a program by, itself or for those that extend it: looked for once.

    Attributes:
        run, main: the method of that contract.
        short, short_object: one of the shorter forms of `main`; one that needs an object.
    """

    found: ClassFile
    run: bool
    main: bool
    short: bool
    short_object: bool


def _offering(found: ClassFile) -> _Offering:
    short = [method for method in found.methods if _is_short(method)]
    return _Offering(
        found,
        run=any(map(_is_run, found.methods)),
        main=any(map(_is_main, found.methods)),
        short=any(method.flags & STATIC for method in short),
        short_object=any(not method.flags & STATIC for method in short),
    )


def _named(by_name: Mapping[str, _Offering], wanted: str) -> Entry | NoEntry:
    offering = by_name.get(wanted) or by_name.get(wanted.replace(".", "$"))
    if offering is None:
        names = ", ".join(sorted(by_name)[:_NAMED_MAX]) or "none"
        return NoEntry(f"the class `{wanted}` is not among the compiled classes: {names}")
    kind = _offer(offering, by_name)
    if not kind:
        nearly = _nearly([offering.found])
        return NoEntry(f"the class `{wanted}` offers no entry point; {nearly}write {_WANTED}")
    return Entry(offering.found.name, kind)


def _several(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED_MAX]) + (", ..." if len(names) > _NAMED_MAX else "")
    return f"several classes could be started: {shown}; name one of them as the main class"


def _offer(started: _Offering, by_name: Mapping[str, _Offering]) -> str:
    """`run`, `main`, or nothing; `run()` wins where both exist."""
    found, lineage = started.found, tuple(_lineage(started, by_name))
    concrete = not found.flags & (ABSTRACT | INTERFACE)
    if concrete and _constructs(found, PUBLIC) and any(each.run for each in lineage):
        return RUN
    if any(each.main for each in lineage):
        return MAIN
    if found.release >= SHORT_FORMS:
        makes = _is_makeable(found)
        if any(each.short or (makes and each.short_object) for each in lineage):
            return MAIN
    return ""


def _too_long(name: str) -> bool:
    """Whether plain java could not keep the class in a file, which `javac` says as an error."""
    path = f"{name.replace('.', '/')}.class".encode(errors="replace")
    return len(path) > _PATH_MAX or any(len(part) > _FILE_NAME_MAX for part in path.split(b"/"))


def _is_run(method: Method) -> bool:
    fits = (method.name, method.descriptor) == ("run", "()Ljava/lang/String;")
    return fits and method.flags & (PUBLIC | STATIC) == PUBLIC


def _is_main(method: Method) -> bool:
    fits = (method.name, method.descriptor) == ("main", "([Ljava/lang/String;)V")
    return fits and method.flags & (PUBLIC | STATIC) == PUBLIC | STATIC


def _is_short(method: Method) -> bool:
    """`void main()` or `void main(String[])`, not private (JEP 512); where it is not static, of an object."""
    fits = method.name == "main" and method.descriptor in {"()V", "([Ljava/lang/String;)V"}
    return fits and not method.flags & PRIVATE


def _constructs(found: ClassFile, visible: int) -> bool:
    """Whether it has a constructor without parameters: a public one, or else any that is not private."""
    return any(
        m.name == "<init>"
        and m.descriptor == "()V"
        and not m.flags & PRIVATE
        and m.flags & visible == visible
        for m in found.methods
    )


def _is_makeable(found: ClassFile) -> bool:
    return not found.flags & (ABSTRACT | INTERFACE) and _constructs(found, 0)


def _nearly(parsed: Iterable[ClassFile]) -> str:
    """What looks like an entry point to its author, and why it is none; empty if nothing does."""
    for found in parsed:
        for method in found.methods:
            if _is_run(method):
                return f"`{found.name}` has `run()`, but {_unmakeable(found)}; "
            makes = method.flags & STATIC or _is_makeable(found)
            if _is_short(method) and makes and 0 < found.release < SHORT_FORMS:
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


def _lineage(started: _Offering, by_name: Mapping[str, _Offering]) -> Iterator[_Offering]:
    """The class and those of its superclasses that belong to the program."""
    current: _Offering | None = started
    for _ in range(_LINEAGE_MAX):
        if current is None:
            return
        yield current
        current = by_name.get(current.found.superclass)
