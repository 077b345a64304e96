"""A call within a class of the JDK's is led elsewhere: constants of it change, and no instruction.

Layout: The Java Virtual Machine Specification, chapter 4.
"""

from __future__ import annotations

import struct

from cluster.java.classfile import CONSTANT_BYTES, PRIVATE, UTF8, WIDE

_CLASS = 7
_METHOD = 10
_NAME_AND_TYPE = 12
_COUNT_AT = 8
"""Of the constants; the first follows."""


class NotAsExpected(ValueError):
    """The class of another JDK: what was to be led elsewhere is not there."""


def redirect(data: bytes, name: str, descriptor: str, owner: str, instead: str) -> bytes:
    """Have a class call `owner`'s static method `instead` where it called the static method `name`.

    Args:
        data: a class file, of the JDK's own: hostile ones are not expected here.
        name: of the method that was called, of whatever class.
        descriptor: parameters and result of both.
        owner: internal name of another class of the same package, such as `java/lang/invoke/Concat`.
        instead: the other method's name.

    Raises:
        NotAsExpected: nothing calls such a method.
    """
    constants, end = _constants(data)
    count = _u2(data, _COUNT_AT)
    texts = _texts(data, constants)
    wanted = (_known(texts, name), _known(texts, descriptor))
    named = {index for index, at in constants[_NAME_AND_TYPE].items() if _pair(data, at + 1) == wanted}
    calls = [at for at in constants[_METHOD].values() if _u2(data, at + 3) in named]
    if not calls:
        raise NotAsExpected(f"nothing calls {name}{descriptor}")
    changed = bytearray(data)
    for at in calls:
        changed[at + 1 : at + 5] = struct.pack(">HH", count + 1, count + 3)
    changed[_COUNT_AT : _COUNT_AT + 2] = struct.pack(">H", count + 4)
    added = _text(owner) + struct.pack(">BH", _CLASS, count)
    added += _text(instead) + struct.pack(">BHH", _NAME_AND_TYPE, count + 2, wanted[1])
    return bytes(changed[:end] + added + changed[end:])


def opened(data: bytes, name: str, descriptor: str) -> bytes:
    """The same class with a private method opened to its package.

    Raises:
        NotAsExpected: there is no such method.
    """
    constants, end = _constants(data)
    texts = _texts(data, constants)
    at = _method_at(data, end, _known(texts, name), _known(texts, descriptor))
    return data[:at] + struct.pack(">H", _u2(data, at) & ~PRIVATE) + data[at + 2 :]


def _texts(data: bytes, constants: dict[int, dict[int, int]]) -> dict[bytes, int]:
    return {data[at + 3 : at + 3 + _u2(data, at + 1)]: index for index, at in constants[UTF8].items()}


def _known(texts: dict[bytes, int], text: str) -> int:
    if text.encode() not in texts:
        raise NotAsExpected(f"no {text} in it")
    return texts[text.encode()]


def _constants(data: bytes) -> tuple[dict[int, dict[int, int]], int]:
    """Where each constant is, by kind and number; and where they end."""
    found: dict[int, dict[int, int]] = {kind: {} for kind in (UTF8, *CONSTANT_BYTES)}
    at, index = _COUNT_AT + 2, 1
    try:
        while index < _u2(data, _COUNT_AT):
            kind = data[at]
            found[kind][index] = at
            at += 3 + _u2(data, at + 1) if kind == UTF8 else 1 + CONSTANT_BYTES[kind]
            index += 2 if kind in WIDE else 1
    except (struct.error, IndexError, KeyError) as error:
        raise NotAsExpected("no class file") from error
    return found, at


def _method_at(data: bytes, end: int, name: int, descriptor: int) -> int:
    """Where the method of that name and descriptor begins, with its access flags."""
    at = end + 6
    at += 2 + 2 * _u2(data, at)  # interfaces
    for members in ("fields", "methods"):
        count, at = _u2(data, at), at + 2
        for _ in range(count):
            if members == "methods" and _pair(data, at + 2) == (name, descriptor):
                return at
            attributes, at = _u2(data, at + 6), at + 8
            for _ in range(attributes):
                at += 6 + int(struct.unpack_from(">I", data, at + 2)[0])
    raise NotAsExpected("no such method")


def _text(value: str) -> bytes:
    return struct.pack(">BH", UTF8, len(value)) + value.encode()


def _u2(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">H", data, at)[0])


def _pair(data: bytes, at: int) -> tuple[int, int]:
    return _u2(data, at), _u2(data, at + 2)
