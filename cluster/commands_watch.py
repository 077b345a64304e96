"""The commands that look: `status` (also `--watch`), `logs` (also `--follow`), `completion`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from click.shell_completion import get_completion_class
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cluster import client
from cluster.commands_local import complete_node, directory_option
from cluster.errors import ConfigError, EnvironmentFault, RemoteProtocolError, Unavailable
from cluster.local import GATEWAY, LocalCluster, NodeProcess

INTERVAL_S = 1.0

_Whole = dict[str, Any]


@click.command()
@directory_option
@click.option("--watch", "-w", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=INTERVAL_S,
    show_default=True,
    help="Seconds between.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines; with --watch one line each time.")
def status(directory: Path, *, watch: bool, interval: float, as_json: bool) -> None:
    """Show every node: its process, and what the gateway thinks of it."""
    cluster = LocalCluster(directory)
    if not watch:
        whole = _look(cluster)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(whole)))
        else:
            _show(whole)
        return
    if as_json or not sys.stdout.isatty():
        for whole in _again(cluster, interval):
            if as_json:
                click.echo(msgspec.json.encode(whole))
            else:
                _show(whole)
                click.echo()
        return
    with Live(console=Console(), auto_refresh=False) as live:
        for whole in _again(cluster, interval):
            live.update(_table(whole), refresh=True)


def _again(cluster: LocalCluster, interval: float) -> Iterator[_Whole]:
    """The state now, and again after each interval, until the user has seen enough."""
    try:
        while True:
            yield _look(cluster)
            time.sleep(interval)
    except KeyboardInterrupt:
        return


def _look(cluster: LocalCluster) -> _Whole:
    processes = cluster.processes()
    try:
        view = client.look(cluster.gateway_url)
        remark = "" if view.ready else f"the gateway is not ready: {view.not_ready_reason}"
    except (Unavailable, RemoteProtocolError):
        view = client.ClusterView()
        remark = f"no gateway answers at {cluster.gateway_url}: `javacluster up` starts what is down"
    gateways = cluster.layout.gateway_ids()
    rows = [_row(process, view, gateway=process.id in gateways) for process in processes]
    return {"leader": view.leader, "epoch": view.epoch, "remark": remark, "nodes": rows}


def _row(process: NodeProcess, view: client.ClusterView, *, gateway: bool) -> dict[str, Any]:
    seen = view.node(process.id) or client.NodeView(process.id)
    return {
        "id": process.id,
        "role": "gateway" if gateway else "peer",
        "state": (seen.state or "-") if process.pid else process.fate,
        "status": seen.status or "-",
        "epoch": seen.epoch,
        "pid": process.pid or "-",
        "slots": f"{seen.running}/{seen.slots}",
    }


def _show(whole: _Whole) -> None:
    """A table on a terminal, aligned plain lines in a pipe."""
    rows = whole["nodes"]
    if sys.stdout.isatty():
        Console().print(_table(whole))
        return
    widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
    for row in [{key: key for key in rows[0]}, *rows]:
        click.echo("  ".join(str(row[key]).ljust(width) for key, width in widths.items()).rstrip())
    if whole["remark"]:
        click.echo(whole["remark"])


def _table(whole: _Whole) -> Table:
    rows = whole["nodes"]
    table = Table(caption=whole["remark"] or None)
    for key in rows[0]:
        table.add_column(key)
    for row in rows:
        down = str(row["state"]).startswith(("DOWN", "not ")) or row["status"] == "FAILED"
        leads = row["state"] == "LEADING"
        table.add_row(*map(str, row.values()), style="red" if down else "green" if leads else "")
    return table


@click.command()
@directory_option
@click.argument("node", metavar="[ID]", type=int, default=GATEWAY, shell_complete=complete_node)
@click.option("--verbose", "-v", is_flag=True, help="Every message and step, instead of what matters.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n", "lines", type=click.IntRange(0, 50_000), default=50, show_default=True, help="How many lines."
)
@click.option("--json", "as_json", is_flag=True, help="One object a line, for machines.")
def logs(directory: Path, node: int, *, verbose: bool, follow: bool, lines: int, as_json: bool) -> None:
    """Print the end of a node's log; the gateway's without an ID."""
    cluster = LocalCluster(directory)
    level = "verbose" if verbose else "summary"
    if node not in cluster.layout.ids():
        raise ConfigError(f"no node {node} here: they are 0 (the gateway) to {max(cluster.layout.ids())}")
    if any(process.pid for process in cluster.processes() if process.id == node):
        token = client.token_of_environment() if node in cluster.layout.gateway_ids() else None
        found = client.log_lines(cluster.http_url(node), level, lines, follow=follow, token=token)
    else:
        found = _log_file(cluster, node, level, lines)
    try:
        for line in found:
            click.echo(_as_json(node, line) if as_json else line)
    except KeyboardInterrupt:
        return


def _as_json(node: int, line: str) -> bytes:
    when, _space, text = line.partition(" ")
    return msgspec.json.encode({"node": node, "time": when, "text": text})


def _log_file(cluster: LocalCluster, node: int, level: str, lines: int) -> Iterator[str]:
    """What a node that is down wrote."""
    files = sorted(
        (cluster.node_directory(node) / "log").glob(f"{level}*"), key=lambda file: file.stat().st_mtime
    )
    if not files:
        raise EnvironmentFault(f"node {node} is down and left no log: `javacluster start {node}`")
    text = files[-1].read_text(encoding="utf-8", errors="replace").splitlines()
    yield from text[len(text) - min(lines, len(text)) :]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command: eval "$(javacluster completion bash)"."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ConfigError(f"nothing is known of the shell {shell}")
    root = ctx.find_root().command
    click.echo(kind(root, {}, "javacluster", "_JAVACLUSTER_COMPLETE").source())


COMMANDS = (status, logs, completion)
