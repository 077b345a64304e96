"""A socket filter that the kernel runs: what is surely not for this node never wakes it (X1, issue 7).

Classic BPF, as `setsockopt(SO_ATTACH_FILTER)` takes it (Linux, Documentation/networking/filter.rst). For a
UDP socket a program sees the datagram from its UDP header on, and gives back how many bytes to keep: 0 drops
it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable

from cluster.identity import NodeId
from cluster.version import PROTOCOL_VERSION
from cluster.wire.sealing import DATAGRAM_MAX, HEADER, MAGIC, TAG_BYTES, cluster_hash

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand (struct sock_filter)."""

SAMPLE = 64
"""Of strangers that know our header one datagram in so many passes: enough for a node that joins."""

SOURCES_MAX = 300
"""Sources that a program knows; the kernel takes at most 4,096 instructions, and a source needs up to 11."""

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_LENGTH = 0x20, 0x28, 0x30, 0x80
_AND, _IF_EQUAL, _IF_GREATER, _IF_AT_LEAST, _RETURN = 0x54, 0x15, 0x25, 0x35, 0x06
_NETWORK_HEADER = 0xFFF00000
"""SKF_NET_OFF: operands from here on count from the IP header."""
_RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM: a random number."""
_UDP_HEADER_BYTES = 8
_SOURCE_AT = {socket.AF_INET: (12, 1), socket.AF_INET6: (8, 4)}
"""Where in the IP header the source address is, and how many words it has."""

_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8

_DROP: Instruction = (_RETURN, 0, 0, 0)
_KEEP: Instruction = (_RETURN, 0, 0, 0xFFFFFFFF)


def program(
    family: int, cluster: str, me: NodeId, sources: Iterable[tuple[str, int]]
) -> tuple[Instruction, ...]:
    """Keep what has this cluster's header and this node's id, all of it from `sources`, else one in `SAMPLE`.

    `family` is `AF_INET` or `AF_INET6`; a source is a literal address and a port. Those of another family,
    and those beyond `SOURCES_MAX`, are sampled like strangers.
    """
    least, most = HEADER.size + TAG_BYTES + _UDP_HEADER_BYTES, DATAGRAM_MAX + _UDP_HEADER_BYTES
    made = [
        (_LOAD_LENGTH, 0, 0, 0),
        *((_IF_AT_LEAST, 1, 0, least), _DROP),
        *((_IF_GREATER, 0, 1, most), _DROP),
    ]
    start = struct.pack(">2sB", MAGIC, PROTOCOL_VERSION)
    made += _require(_LOAD_HALF, 0, int.from_bytes(start[:2], "big"))
    made += _require(_LOAD_BYTE, 2, start[2])
    first, second = struct.unpack(">II", cluster_hash(cluster))
    made += _require(_LOAD_WORD, 4, first) + _require(_LOAD_WORD, 8, second)
    made += _require(_LOAD_WORD, HEADER.size - 5, me)
    _, words = _SOURCE_AT[socket.AddressFamily(family)]
    own = [(host, port) for host, port in sources if len(ipaddress.ip_address(host).packed) == 4 * words]
    for source in own[:SOURCES_MAX]:
        made += _keep_from(family, source)
    made += [(_LOAD_WORD, 0, 0, _RANDOM), (_AND, 0, 0, SAMPLE - 1), (_IF_EQUAL, 0, 1, 0), _KEEP, _DROP]
    return tuple(made)


def _require(load: int, at: int, value: int) -> list[Instruction]:
    """Drop what does not have this value at this place of the payload."""
    return [(load, 0, 0, _UDP_HEADER_BYTES + at), (_IF_EQUAL, 1, 0, value), _DROP]


def _keep_from(family: int, source: tuple[str, int]) -> list[Instruction]:
    """Keep what comes from there: every word of the address, then the port, each a load and a comparison."""
    host, port = source
    at, words = _SOURCE_AT[socket.AddressFamily(family)]
    address = ipaddress.ip_address(host).packed
    wanted = [
        (_LOAD_WORD, _NETWORK_HEADER + at + 4 * i, int.from_bytes(address[4 * i : 4 * i + 4], "big"))
        for i in range(words)
    ]
    wanted.append((_LOAD_HALF, 0, port))
    made: list[Instruction] = []
    for position, (load, where, value) in enumerate(wanted):
        to_the_end = 2 * (len(wanted) - position - 1) + 1
        made += [(load, 0, 0, where), (_IF_EQUAL, 0, to_the_end, value)]
    return [*made, _KEEP]


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27


def attach(sock: socket.socket, instructions: tuple[Instruction, ...]) -> None:
    """Have the kernel filter what this socket receives, instead of by an earlier program.

    Raises:
        OSError: the kernel takes no such program.
    """
    array = (_Filter * len(instructions))(*(_Filter(*each) for each in instructions))
    fields = _Program(len(instructions), array)
    raw = ctypes.string_at(ctypes.addressof(fields), ctypes.sizeof(fields))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, raw)


def detach(sock: socket.socket) -> None:
    """Let everything through again; without a program, do nothing."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except FileNotFoundError:
        return


def dropped_by_kernel(sock: socket.socket) -> int:
    """Datagrams that this socket never gave us: filtered, or its buffer was full. Counts up, modulo 2^32."""
    raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    return int(_MEMINFO.unpack(raw)[_MEMINFO_DROPS])
