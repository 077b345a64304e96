"""Class files, read just far enough to find where a program starts (P2).

The bytes come out of a compiler that has read hostile sources, so every count and length is checked
against what is there, and the only exception is `MalformedClass`. Layout: The Java Virtual Machine
Specification, chapter 4.
"""

from __future__ import annotations

import struct
from collections.abc import Generator

import attrs

CLASS_BYTES_MAX = 8 * 1024 * 1024
"""A single class file; javac's own limits (64 KiB a method, 65,535 constants) keep real ones far below."""

_MAGIC = 0xCAFEBABE
_BEFORE_JAVA_1 = 44
"""A class file's major version is so much above its JDK's."""
UTF8 = 1
_CLASS = 7
WIDE = frozenset({5, 6})
"""Long and Double take two numbers in the pool."""
CONSTANT_BYTES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4}
CONSTANT_BYTES |= {19: 2, 20: 2}

_NAMED = frozenset({b"run", b"main", b"<init>"})
"""Of these are the methods by which a program may start."""
_STEP = 1024
"""Fields, methods, or eight times as many constants, are read between two pauses: about a millisecond."""

PUBLIC = 0x0001
PRIVATE = 0x0002
STATIC = 0x0008
INTERFACE = 0x0200
ABSTRACT = 0x0400


class MalformedClass(ValueError):
    """The bytes are not a class file that a Java virtual machine would take."""


@attrs.frozen
class Method:
    """A method as declared: its access flags, name and descriptor."""

    flags: int
    name: str
    descriptor: str


@attrs.frozen
class ClassFile:
    """What the entry point's rules look at.

    Attributes:
        name: binary name with dots, such as `demo.Main` or `Main$Inner`.
        superclass: the same of its superclass; empty for `java.lang.Object`.
        flags: access flags.
        nested: whether it is declared inside another class.
        methods: those called `run`, `main` or `<init>`, in the order of the file.
        release: of the JDK whose class files these are: 17, 25, ...; 0 where a preview feature is used.
    """

    name: str
    superclass: str
    flags: int
    nested: bool
    methods: tuple[Method, ...]
    release: int = 0


class _Reader:
    """A cursor over bytes that refuses to run past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise MalformedClass("truncated")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def u1(self) -> int:
        return self.take(1)[0]

    def u2(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u4(self) -> int:
        return int.from_bytes(self.take(4), "big")


class _Pool:
    """The constant pool: only text and class names are kept.

    However often a class file names one of them, it is decoded once: 64 KiB of text can be the name of each
    of 65,535 methods.
    """

    def __init__(self) -> None:
        self.texts: dict[int, bytes] = {}
        self._classes: dict[int, int] = {}
        self._decoded: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def reading(self, reader: _Reader) -> Generator[None, None, None]:
        """Read it, in steps."""
        count = reader.u2()
        index = 1
        while index < count:
            tag = reader.u1()
            if tag == UTF8:
                self.texts[index] = reader.take(reader.u2())
            elif tag in CONSTANT_BYTES:
                body = reader.take(CONSTANT_BYTES[tag])
                if tag == _CLASS:
                    self._classes[index] = struct.unpack(">H", body)[0]
            else:
                raise MalformedClass("unknown constant")
            index += 2 if tag in WIDE else 1
            if index % (8 * _STEP) < 2:  # noqa: PLR2004  (some constants take two numbers)
                yield

    def text(self, index: int) -> str:
        if (known := self._decoded.get(index)) is not None:
            return known
        if index not in self.texts:
            raise MalformedClass("no such text")
        return self._decoded.setdefault(index, _modified_utf8(self.texts[index]))

    def class_name(self, index: int) -> str:
        if index not in self._classes:
            raise MalformedClass("no such class")
        of = self._classes[index]  # by the text: any number of classes may have the same one
        if (known := self._names.get(of)) is not None:
            return known
        return self._names.setdefault(of, self.text(of).replace("/", "."))


def _modified_utf8(data: bytes) -> str:
    """Java's own UTF-8: NUL in two bytes, supplementary characters as two surrogates of three bytes each."""
    try:
        text = data.replace(b"\xc0\x80", b"\x00").decode("utf-8", "surrogatepass")
        return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
    except UnicodeDecodeError:
        raise MalformedClass("bad text") from None


def parse(data: bytes) -> ClassFile:
    """Read one class file.

    Raises:
        MalformedClass: whatever else the bytes are.
    """
    steps = parsing(data)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: ClassFile = end.value
            return found


def parsing(data: bytes) -> Generator[None, None, ClassFile]:
    """The same in steps of a millisecond or so: a class file can take a tenth of a second."""
    if len(data) > CLASS_BYTES_MAX:
        raise MalformedClass("too large")
    reader = _Reader(data)
    if reader.u4() != _MAGIC:
        raise MalformedClass("no class file")
    minor, major = reader.u2(), reader.u2()
    pool = _Pool()
    yield from pool.reading(reader)
    flags = reader.u2()
    this = pool.class_name(reader.u2())
    superclass_index = reader.u2()
    superclass = pool.class_name(superclass_index) if superclass_index else ""
    reader.take(2 * reader.u2())
    for number in range(1, reader.u2() + 1):
        reader.take(6)
        _skip_attributes(reader)
        if number % _STEP == 0:
            yield
    methods: list[Method] = []
    for number in range(1, reader.u2() + 1):
        method = _method(reader, pool)
        if method is not None:
            methods.append(method)
        if number % _STEP == 0:
            yield
    release = 0 if minor else max(major - _BEFORE_JAVA_1, 0)
    return ClassFile(this, superclass, flags, _is_nested(reader, pool, this), tuple(methods), release)


def _method(reader: _Reader, pool: _Pool) -> Method | None:
    """The next one; None: by its name no program starts."""
    flags, name, descriptor = struct.unpack(">HHH", reader.take(6))
    _skip_attributes(reader)
    if name not in pool.texts or descriptor not in pool.texts:
        raise MalformedClass("no such text")
    return Method(flags, pool.text(name), pool.text(descriptor)) if pool.texts[name] in _NAMED else None


def _skip_attributes(reader: _Reader) -> None:
    for _ in range(reader.u2()):
        reader.take(2)
        reader.take(reader.u4())


def _is_nested(reader: _Reader, pool: _Pool, this: str) -> bool:
    """Whether the attribute InnerClasses lists the class itself; there is at most one (JVMS 4.7.6)."""
    nested, listed = False, False
    for _ in range(reader.u2()):
        name = pool.text(reader.u2())
        body = reader.take(reader.u4())
        if name != "InnerClasses":
            continue
        if listed:
            raise MalformedClass("two lists of inner classes")
        listed = True
        inner = _Reader(body)
        for _ in range(inner.u2()):
            nested = pool.class_name(inner.u2()) == this or nested
            inner.take(6)
    return nested
