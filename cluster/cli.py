"""The command line: `javacluster COMMAND`.

Exit statuses: 0 done; 1 the program failed; 2 wrong usage; 65 the request can't be a job; 69 the machine
lacks something; 75 nobody serves now, try again; 78 the configuration is wrong (the numbers of sysexits(3)).
Every error is one line that says what to do.

This is the one module that touches the global reactor, and only in `node`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from cluster import (
    commands_bench,
    commands_drill,
    commands_keys,
    commands_local,
    commands_run,
    commands_watch,
)
from cluster.config import load
from cluster.errors import ClusterError, ConfigError, EnvironmentFault, JobError, Unavailable
from cluster.processes import raise_open_files
from cluster.version import PROTOCOL_VERSION, __version__

EXIT_STATUS: tuple[tuple[type[ClusterError], int], ...] = (
    (ConfigError, 78),
    (EnvironmentFault, 69),
    (Unavailable, 75),
    (JobError, 65),
    (ClusterError, 70),
)
"""First match wins."""


class Commands(click.Group):
    """A group whose commands may raise any `ClusterError`: told in one line, with its exit status."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; turn our errors into click's."""
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            click.echo("Error: " + "; ".join(str(error).splitlines()), err=True)
            ctx.exit(next(status for kind, status in EXIT_STATUS if isinstance(error, kind)))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Compile and run Java on a cluster that survives the loss of its machines."""


for part in (commands_local, commands_run, commands_watch, commands_keys, commands_bench, commands_drill):
    for command in part.COMMANDS:
        main.add_command(command)


@main.command()
def version() -> None:
    """Print the version of this software and of its protocol."""
    click.echo(f"javacluster {__version__} (protocol {PROTOCOL_VERSION})")


@main.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def check_config(ctx: click.Context, file: Path) -> None:
    """Check a node.yml: one line a problem, exit status 78 if there is any; warnings alone are no problem."""
    try:
        config = load(file)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"{file}: {problem}" if str(file) not in problem else problem, err=True)
        ctx.exit(dict(EXIT_STATUS)[ConfigError])
    for warning in config.warnings():
        click.echo(f"{file}: warning: {warning}", err=True)
    click.echo(f"{file}: ok")


@main.command()
@click.option("--config", type=click.Path(path_type=Path), default=Path("node.yml"), show_default=True)
@click.option(
    "--authority",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the cluster's own authority lies or is made.  [default: authority, beside node.yml]",
)
@click.option(
    "--voters", is_flag=True, help="Accept a changed list of peers; every peer must be stopped (N1)."
)
@click.option(
    "--record-only", is_flag=True, help="Make the durable record; key and certificate come from elsewhere."
)
def init(config: Path, authority: Path | None, *, voters: bool, record_only: bool) -> None:
    """Make what a node needs before its first start: key, certificate, durable record.

    What exists is left alone. A new node may not vote until it has heard the cluster.
    """
    if voters and record_only:
        raise click.UsageError("--voters changes a record, --record-only makes one: give one of them")
    from cluster import provision  # noqa: PLC0415 - other commands need no cryptography and start sooner

    settings = load(config)
    if voters:
        click.echo(provision.accept_voters(settings))
        return
    made = (
        provision.make_record(settings)
        if record_only
        else provision.provision(settings, authority or config.resolve().parent / "authority")
    )
    for line in [f"made {file}" for file in made] or ["nothing to make: everything is there"]:
        click.echo(line)


@main.command()
@click.option("--config", type=click.Path(path_type=Path), default=Path("node.yml"), show_default=True)
def node(config: Path) -> None:
    """Run one node in the foreground until it is told to stop; SIGTERM drains it first."""
    settings = load(config)
    raise_open_files()

    # Before anything imports Twisted's endpoints, which take these words out of the environment (D4).
    from cluster.telemetry.notify import kept_sockets  # noqa: PLC0415

    kept = kept_sockets(os.environ)

    # The reactor that keeps time must be in place before anything imports the global one.
    from cluster.net import reactor as monotonic  # noqa: PLC0415

    monotonic.install()

    from twisted.internet import reactor  # noqa: PLC0415
    from twisted.internet.defer import maybeDeferred  # noqa: PLC0415
    from twisted.internet.error import ReactorNotRunning  # noqa: PLC0415
    from twisted.python.failure import Failure  # noqa: PLC0415

    from cluster.service import start  # noqa: PLC0415

    ended: list[object] = []

    def stop(result: object) -> None:
        ended.append(result)
        with contextlib.suppress(ReactorNotRunning):  # a signal may have stopped it already
            reactor.stop()

    reactor.callWhenRunning(lambda: maybeDeferred(start, settings, reactor, kept).addBoth(stop))
    reactor.run()
    for result in ended:
        if isinstance(result, Failure):
            result.raiseException()


if __name__ == "__main__":
    main()
