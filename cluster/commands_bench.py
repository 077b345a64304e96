"""The commands that measure: `javacluster bench` and `javacluster soak`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from cluster.bench import java, report, soak, survival
from cluster.local import PEERS_MAX

MAX_PORT = 65535 - 10 * PEERS_MAX - 1000

EXIT_GROWN = 1

JAVA, SURVIVAL = "java", "survival"


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command()
@click.option(
    "--part",
    "parts",
    type=click.Choice([JAVA, SURVIVAL]),
    multiple=True,
    help="Only this: the Java engine beside plain java, or a leader's death.  [default: both]",
)
@click.option(
    "--programs",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Distinct programs each.",
)
@click.option("--kills", type=click.IntRange(0, 1000), default=20, show_default=True, help="Leaders to kill.")
@click.option("--base-port", type=click.IntRange(1024, MAX_PORT), default=18000, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the Java part's page and plot.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def bench(
    parts: tuple[str, ...], programs: int, kills: int, base_port: int, output: Path | None, *, as_json: bool
) -> None:
    """Measure this machine: plain java, our engine, a cluster of its own, and what a leader's death costs."""
    told: dict[str, java.JavaReport | survival.Report] = {}
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
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told)))


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
