"""The commands that measure: `javacluster bench` and `javacluster soak`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from cluster.bench import failover, java, report, soak, survival
from cluster.local import PEERS_MAX

MAX_PORT = 65535 - 10 * PEERS_MAX - 1000

EXIT_GROWN = 1

JAVA, SURVIVAL, FAILOVER = "java", "survival", "failover"


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@click.option(
    "--part",
    "parts",
    type=click.Choice([JAVA, SURVIVAL, FAILOVER]),
    multiple=True,
    help="Only this: the Java engine beside plain java, a leader's death, or (not by default) every kind of "
    "loss many times.  [default: java and survival]",
)
@click.option(
    "--programs",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Distinct programs each.",
)
@click.option("--kills", type=click.IntRange(0, 1000), default=20, show_default=True, help="Leaders to kill.")
@click.option(
    "--loss",
    "losses",
    type=click.Choice([kind.name.lower() for kind in failover.Kind]),
    multiple=True,
    help="Failover: only these kinds of loss.  [default: all]",
)
@click.option(
    "--peers", type=click.IntRange(3, PEERS_MAX), default=5, show_default=True, help="Failover: of them."
)
@click.option("--base-port", type=click.IntRange(1024, MAX_PORT), default=18000, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the pages and plots.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def bench(
    parts: tuple[str, ...],
    programs: int,
    kills: int,
    losses: tuple[str, ...],
    peers: int,
    base_port: int,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure this machine: plain java, our engine, a cluster of its own, and what a leader's death costs."""
    told: dict[str, java.JavaReport | survival.Report | failover.Report] = {}
    if JAVA in parts or not parts:
        measured = told[JAVA] = java.measure(programs, base_port, _say)
        page = report.as_page(measured)
        if output:
            output.mkdir(parents=True, exist_ok=True)
            (output / "java.md").write_text(page, encoding="utf-8")
            (output / "java.svg").write_text(report.as_plot(measured), encoding="utf-8")
        if not as_json:
            click.echo(page)
    if SURVIVAL in parts or not parts:
        survived = told[SURVIVAL] = survival.measure(kills, programs, base_port, _say)
        if not as_json:
            click.echo("\n".join(survival.as_lines(survived)))
    if FAILOVER in parts:
        kinds = [failover.Kind[name.upper()] for name in losses] or list(failover.Kind)
        recovered = told[FAILOVER] = failover.measure(kinds, kills, peers, base_port, _say)
        page = failover.as_page(recovered)
        if output:
            page = _kept(output, recovered)
        if not as_json:
            click.echo(page)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told)))


def _kept(output: Path, recovered: failover.Report) -> str:
    """The page of all kinds of loss that were measured so far: all of them take half an hour."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "failover.json"
    if file.exists():
        recovered = failover.joined(msgspec.json.decode(file.read_bytes(), type=failover.Report), recovered)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(recovered)) + b"\n")
    page = failover.as_page(recovered)
    (output / "failover.md").write_text(page, encoding="utf-8")
    return page


@click.command(name="soak")
@click.option("--jobs", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True)
@click.option(
    "--every",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    help="Jobs between two looks.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the jobs' order.")
@click.pass_context
def soak_(ctx: click.Context, jobs: int, every: int, seed: int) -> None:
    """Run thousands of mixed jobs, a tenth of them hostile, on one node; nothing may grow.

    Exits with 1 if a verdict was wrong or anything grew.
    """
    done = soak.soak(jobs, every, seed, click.echo)
    for wrong in done.wrong:
        click.echo(f"wrong: {wrong}")
    for grown in done.grown:
        click.echo(f"grown: {grown}")
    if done.wrong or done.grown:
        ctx.exit(EXIT_GROWN)
    click.echo("flat")


COMMANDS = (bench, soak_)
