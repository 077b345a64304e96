"""The commands `javacluster drill` and `javacluster capacity`: what the cluster withstands, what it costs."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click
import msgspec

from cluster.bench import machine
from cluster.capacity.measure import as_line, measure
from cluster.drill.play import Drill, Plan, summary
from cluster.drill.pressure import Pressing
from cluster.drill.promises import as_lines
from cluster.local import PEERS_MAX

MAX_PORT = 65535 - 10 * PEERS_MAX - 1000
DEFAULT = Plan()

EXIT_VIOLATION = 1


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1, 24 * 60), default=DEFAULT.minutes, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=DEFAULT.seed, show_default=True, help="Of the schedule."
)
@click.option("--peers", type=click.IntRange(3, 15), default=DEFAULT.peers, show_default=True)
@click.option("--gateways", type=click.IntRange(1, 5), default=DEFAULT.gateways, show_default=True)
@click.option("--clients", type=click.IntRange(1, 200), default=DEFAULT.clients, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 1000),
    default=DEFAULT.rate,
    show_default=True,
    help="Requests a second.",
)
@click.option(
    "--base-port", type=click.IntRange(1024, MAX_PORT), default=DEFAULT.base_port, show_default=True
)
@click.option(
    "--cuts/--no-cuts",
    default=DEFAULT.cuts,
    show_default=True,
    help="Also cut the network between nodes, each in a namespace of its own. Without root or a tool that it "
    "needs they are left out, and the summary says so.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="For the summary, the picture and, after a violation, the nodes' logs.  [default: drill-SEED]",
)
@click.pass_context
def drill(
    ctx: click.Context,
    minutes: float,
    seed: int,
    peers: int,
    gateways: int,
    clients: int,
    rate: float,
    base_port: int,
    output: Path | None,
    *,
    cuts: bool,
) -> None:
    """Strike a cluster of its own under load, and account for every request.

    Exits with 1 if any request was lost, doubled or answered wrongly, or any job ran again without a cause.
    """
    _end_in_order()
    plan = Plan(minutes, seed, peers, gateways, clients, rate, base_port, cuts)
    place = output or Path(f"drill-{seed}")
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="javacluster-drill-") as directory:
        made = Path(directory) / "cluster"
        report, svg = Drill(plan, made, say=lambda text: click.echo(text, err=True)).run()
        if report.account.violations:
            _keep_logs(made, place / "logs")
    lines = summary(report)
    (place / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (place / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    (place / "timeline.svg").write_text(svg, encoding="utf-8")
    for line in lines:
        click.echo(line)
    click.echo(f"written to {place}: summary.txt, summary.json, timeline.svg")
    if report.account.violations:
        ctx.exit(EXIT_VIOLATION)


def _end_in_order() -> None:
    """SIGTERM ends the command as Ctrl-C does: what it started goes with it."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def _keep_logs(cluster: Path, place: Path) -> None:
    for log in cluster.glob("node-*/log"):
        shutil.copytree(log, place / log.parent.name, dirs_exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # what a node printed that ended by itself
            shutil.copy(log.parent / "output.log", place / log.parent.name)


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(1, 200),
    multiple=True,
    default=(1, 10, 100),
    show_default=True,
    help="Repeatable.",
)
@click.option("--seconds", type=click.FloatRange(1, 600), default=10.0, show_default=True)
@click.option("--base-port", type=click.IntRange(1024, 65000), default=17000, show_default=True)
@click.option("--http", is_flag=True, help="Jobs come from clients over HTTP, not from the gateway itself.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def capacity(workers: tuple[int, ...], seconds: float, base_port: int, *, http: bool, as_json: bool) -> None:
    """Measure the cluster itself: no-op jobs through one leader, to stand-ins that run nothing."""
    _end_in_order()
    figures = []
    for count in workers:
        figures.append(
            measure(count, seconds, base_port, say=lambda text: click.echo(text, err=True), http=http)
        )
        if not as_json:
            click.echo(as_line(figures[-1]))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(figures)))


@click.command()
@click.option("--factor", type=click.FloatRange(1.5, 100), default=10.0, show_default=True, help="Overload.")
@click.option("--seconds", type=click.FloatRange(5, 3600), default=60.0, show_default=True, help="Of it.")
@click.option("--base-port", type=click.IntRange(1024, MAX_PORT), default=20000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def pressure(ctx: click.Context, factor: float, seconds: float, base_port: int, *, as_json: bool) -> None:
    """Measure too much: refusals and accepted jobs under overload, a tenant's flood, clients that leave.

    Exits with 1 if a promise did not hold.
    """
    _end_in_order()
    with tempfile.TemporaryDirectory(prefix="javacluster-pressure-") as directory:
        pressing = Pressing(Path(directory) / "cluster", base_port, lambda text: click.echo(text, err=True))
        measured = pressing.run(machine(), factor, seconds)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(measured)))
    else:
        click.echo("\n".join(as_lines(measured)))
    if measured.broken():
        ctx.exit(EXIT_VIOLATION)


COMMANDS = (drill, capacity, pressure)
