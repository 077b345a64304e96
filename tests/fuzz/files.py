"""What people and crashes leave in files: configuration, tokens, keys, the durable record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cluster import tokens
from cluster.config import parse
from cluster.core.record import Record
from cluster.errors import ConfigError, StorageError
from cluster.net.store import RecordStore, Stored
from cluster.wire.keyring import KEYS_MAX, Keyring
from tests.fuzz.target import Target, require

CONFIG: dict[str, Any] = {
    "cluster": "demo",
    "node": 1,
    "members": [
        {"id": 0, "role": "gateway", "host": "127.0.0.1", "udp": 8000, "http": 8888},
        {"id": 1, "role": "peer", "host": "127.0.0.1", "udp": 8010, "tcp": 8012, "http": 8013},
        {"id": 2, "role": "worker", "host": "node-2.example", "udp": 8020, "http": 8023},
    ],
    "key_file": "cluster.key",
    "tls": {"authority": "ca.crt", "certificate": "node.crt", "key": "node.key"},
    "state_directory": "state",
    "profile": "slow",
    "timing": {"heartbeat_s": 0.1},
    "gateway": {"compat": {"interfaces": ["jobe"], "callback_allow": ["*.example", "10.0.0.0/8"]}},
    "limits": {"wall_s": 10.0, "memory_bytes": 268435456},
    "sandbox": {"require": ["namespaces", "seccomp"]},
    "log": {"rotate_bytes": 1000000},
}


def _told(error: ConfigError) -> None:
    """An error is lines for people, and can be printed."""
    require(error.problems, "says what is wrong")
    for problem in error.problems:
        require(problem.strip(), "in words")
        require("\n" not in problem, "one line a problem")
        problem.encode()  # a terminal takes it


def _text(data: bytes) -> str | None:
    """As a file is read; what is no UTF-8 is refused before a parser sees it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def config(data: bytes) -> None:
    """`node.yml`."""
    if (text := _text(data)) is None:
        return
    try:
        found = parse(text)
    except ConfigError as error:
        _told(error)
        return
    again = parse(yaml.safe_dump(msgspec.to_builtins(found)))
    require(again == found, "round trip")
    require(found.me.id == found.node, "it names itself among the members")


def _seeds_config() -> Iterator[bytes]:
    yield yaml.safe_dump(CONFIG).encode()
    yield yaml.safe_dump(CONFIG, default_flow_style=True).encode()
    for name in ("timing", "gateway", "limits", "sandbox", "log", "profile"):
        short = {key: value for key, value in CONFIG.items() if key not in {"timing", "gateway", "limits"}}
        yield yaml.safe_dump(short | {name: CONFIG[name]}).encode()
    yield b"cluster: [\n"
    yield b"a: &a [1]\nb: *a\n<<: {c: !!str 1}\nd: 2001-01-01 00:00:00\ne: !!binary aGk=\n"


def token_file(data: bytes) -> None:
    """`tokens.yml`."""
    if (text := _text(data)) is None:
        return
    try:
        found = tokens.parse(text)
    except ConfigError as error:
        _told(error)
        return
    require(tokens.parse(tokens.render(found)) == found, "round trip")


def _seeds_tokens() -> Iterator[bytes]:
    made = tuple(
        tokens.Token(name=name, sha256=tokens.digest_of(f"jc_{name}"), rate=2.5, share=3)
        for name in ("ann", "bob")
    )
    yield tokens.render(made).encode()
    yield tokens.render(made[:1]).encode()
    yield tokens.render(()).encode()
    yield b"tokens:\n- {name: a, sha256: 00}\n"


def keys(data: bytes) -> None:
    """`cluster.key`."""
    text = data.decode("ascii", "replace")
    try:
        found = Keyring.from_text(text)
    except ConfigError as error:
        _told(error)
        return
    require(0 < len(found.keys) <= KEYS_MAX, "at least one key, and no more than may be")
    again = Keyring.from_text(found.to_text())
    require((again.keys, again.newest) == (found.keys, found.newest), "round trip")
    secret = next(iter(found.keys.values())).hex()
    require(secret not in repr(found), "no key is shown")


def _seeds_keys() -> Iterator[bytes]:
    yield Keyring({1: bytes(range(32))}).to_text().encode()
    yield Keyring({1: bytes(range(32)), 255: bytes(32)}).to_text().encode()
    yield b"0 " + b"ab" * 32 + b"\n1 xyz\n# nothing\n"


_STORE = RecordStore(Path("nowhere"))


def record(data: bytes) -> None:
    """`record.json`."""
    try:
        found = _STORE._decode(data)
    except StorageError as error:
        str(error).encode()
        return
    require(_file(found) == _file(_STORE._decode(_file(found))), "round trip")


def _file(found: Record) -> bytes:
    encoded = msgspec.json.encode(found)
    return msgspec.json.encode(Stored(msgspec.Raw(encoded), hashlib.sha256(encoded).hexdigest())) + b"\n"


def resealed(data: bytes) -> None:
    """A record whose checksum is right, whatever it says: the inside is reached, and judged."""
    checksum = hashlib.sha256(data).hexdigest().encode()
    record(b'{"record":' + data + b',"checksum":"' + checksum + b'"}')


def _seeds_record() -> Iterator[bytes]:
    for found in _records():
        yield _file(found)
        yield _file(found)[:40]


def _records() -> Iterator[Record]:
    yield Record("demo", 1, "ff00", 1_700_000_000)
    yield Record("demo", 1, "ff00", 1_700_000_000, True, 7, 2, 1_700_000_001, 7, 2)


def _target(name: str, check: Callable[[bytes], None], seeds: Callable[[], Iterator[bytes]]) -> Target:
    return Target(name, "is read and written to the same, or refused in words for people", check, seeds)


TARGETS = (
    _target("config", config, _seeds_config),
    _target("tokens", token_file, _seeds_tokens),
    _target("keys", keys, _seeds_keys),
    _target("record", record, _seeds_record),
    _target("record_inside", resealed, lambda: map(msgspec.json.encode, _records())),
)
