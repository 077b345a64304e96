"""The file of bearer tokens (H9): who may send programs to a gateway, how often, and with which share.

A token is 256 random bits, so that a plain SHA-256 of it can't be turned back; the file holds nothing else of
it. Two entries of one name are one tenant with two tokens, as while one replaces the other.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta

from cluster.documents import read_yaml
from cluster.errors import ConfigError
from cluster.limits import SHARE_MAX, TENANT_MAX

PREFIX = "jc_"
"""What every token begins with, so that people and scanners for secrets know one when they see it."""

DIGITS_MIN = 8
"""Digits of a hash by which people may name a token."""

_RANDOM_BYTES = 32

Name = Annotated[str, Meta(min_length=1, max_length=TENANT_MAX, pattern=r"^[A-Za-z0-9._-]+$")]
Rate = Annotated[float, Meta(gt=0, le=1e6)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry.

    Attributes:
        name: the tenant.
        sha256: of the token, in hexadecimal.
        rate: programs a second that the tenant may send for long.
        burst: programs that it may send at once after a pause.
        share: its jobs a turn when tenants wait for workers.
    """

    name: Name
    sha256: Digest
    rate: Rate = 10.0
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    share: Annotated[int, Meta(ge=1, le=SHARE_MAX)] = 1


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[Token, ...] = ()


def new_token() -> str:
    """Make a token."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse(text: str) -> tuple[Token, ...]:
    """Read the file's text.

    Raises:
        ConfigError: with the place of what is wrong.
    """
    raw = read_yaml(text)
    try:
        found = msgspec.convert({} if raw is None else raw, _File).tokens
    except msgspec.ValidationError as error:
        message, separator, path = str(error).rpartition(" - at `")
        raise ConfigError(f"{path.rstrip('`')}: {message}" if separator else f"$: {error}") from error
    if len({token.sha256 for token in found}) != len(found):
        raise ConfigError("$.tokens: one token is there twice")
    by_name: dict[str, Token] = {}
    for token in found:
        first = by_name.setdefault(token.name, token)
        if (first.rate, first.burst, first.share) != (token.rate, token.burst, token.share):
            raise ConfigError(f"$.tokens: the entries of {token.name} differ in rate, burst or share")
    return found


def load(path: Path) -> tuple[Token, ...]:
    """Read the file.

    Raises:
        ConfigError: it can't be read, or see `parse`.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}: `javacluster keys token NAME` makes one") from error
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {problem}" for problem in error.problems)) from error


def render(tokens: tuple[Token, ...]) -> str:
    """The file's text."""
    rows = [msgspec.structs.asdict(token) for token in tokens]
    body = yaml.safe_dump({"tokens": rows}, sort_keys=False) if rows else "tokens: []\n"
    return f"# Made by `javacluster keys`; of the tokens themselves only the SHA-256 is here.\n{body}"
