"""`javacluster keys`: the bearer tokens of a gateway (H9), made, listed and taken back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from cluster import tokens
from cluster.errors import ConfigError, EnvironmentFault
from cluster.limits import SHARE_MAX
from cluster.net.files import replace_file
from cluster.tokens import Token

MODE = 0o640
"""A hash is no secret, but who could write the file could let himself in."""

_RELOAD = "`systemctl reload javacluster` (SIGHUP) lets the gateway know"


@click.group()
def keys() -> None:
    """Make and take back the tokens that a gateway asks for (gateway.tokens_file)."""


def _file_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--file",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("tokens.yml"),
        show_default=True,
        help="Where the gateway reads them: its gateway.tokens_file.",
    )(command)


@keys.command()
@click.argument("name")
@_file_option
@click.option("--rate", type=float, help="Programs a second, for long.  [default: 10]")
@click.option("--burst", type=int, help="Programs at once, after a pause.  [default: 20]")
@click.option("--share", type=click.IntRange(1, SHARE_MAX), help="Jobs a turn when all wait.  [default: 1]")
def token(name: str, file: Path, rate: float | None, burst: int | None, share: int | None) -> None:
    """Make a token for tenant NAME, and print it: it is shown once and kept nowhere.

    A tenant that has one gets a second one with the same rate, so that it can change over; `keys revoke`
    takes the old one back.
    """
    known = tokens.load(file) if file.exists() else ()
    options = {"rate": rate, "burst": burst, "share": share}
    asked = {key: value for key, value in options.items() if value is not None}
    before = next((one for one in known if one.name == name), None)
    if before is not None and asked:
        raise ConfigError(f"{name} has a token already: change its rate, burst or share in {file}")
    secret = tokens.new_token()
    fields = {"name": name, "sha256": tokens.digest_of(secret), **asked}
    if before is not None:
        fields = {**msgspec.structs.asdict(before), "sha256": fields["sha256"]}
    try:
        made = msgspec.convert(fields, Token)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error).replace(" - at `$.", " - `")) from error
    _write(file, (*known, made))
    click.echo(secret)
    if sys.stdout.isatty():
        click.echo(f"keep it: it is not shown again; {_RELOAD}", err=True)


@keys.command("list")
@_file_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_tokens(file: Path, *, as_json: bool) -> None:
    """List the tokens: tenant, rate, burst, share, and the first digits of the hash."""
    known = tokens.load(file)
    if as_json:
        click.echo(msgspec.json.encode(known))
        return
    for one in known:
        click.echo(f"{one.name}  {one.sha256[:8]}  rate {one.rate:g}/s  burst {one.burst}  share {one.share}")
    if not known:
        click.echo(f"no token in {file}: `javacluster keys token NAME` makes one", err=True)


@keys.command()
@click.argument("which", metavar="(NAME | DIGITS)")
@_file_option
def revoke(which: str, file: Path) -> None:
    """Take back all tokens of tenant NAME, or the one whose hash begins with DIGITS (see `keys list`)."""
    known = tokens.load(file)
    gone = [one for one in known if one.name == which]
    if not gone and len(which) >= tokens.DIGITS_MIN:
        gone = [one for one in known if one.sha256.startswith(which)]
    if not gone:
        raise ConfigError(f"{file}: no token of `{which}`: `javacluster keys list` tells what there is")
    _write(file, tuple(one for one in known if one not in gone))
    click.echo(f"took back {len(gone)} of {len(known)} tokens; {_RELOAD}")


def _write(file: Path, content: tuple[Token, ...]) -> None:
    try:
        replace_file(file, tokens.render(content).encode(), MODE)
    except OSError as error:
        raise EnvironmentFault(f"{file}: can't be written: {error.strerror or error}") from error


COMMANDS = (keys,)
