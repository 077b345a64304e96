"""The commands of the embedded cluster: up, down, status, run, kill, start, logs."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from cluster import client
from cluster.errors import ConfigError, EnvironmentFault, JobError, RemoteProtocolError, Unavailable
from cluster.local import GATEWAY, PEERS, PEERS_MAX, Layout, LocalCluster, NodeProcess

GATEWAYS_MAX = 9

MAX_PORT = 65535 - 10 * (PEERS_MAX + GATEWAYS_MAX) - 3

EXIT_PROGRAM_FAILED = 1


def _directory(command: Callable[..., None]) -> Callable[..., None]:
    """The option that names the cluster."""
    return click.option(
        "--directory",
        envvar="JAVACLUSTER_DIRECTORY",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(".javacluster"),
        show_default=True,
        help="Where the local cluster keeps everything (also $JAVACLUSTER_DIRECTORY).",
    )(command)


def _setting(_ctx: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """`work.queue_timeout_s=3` as key and value, the value read as YAML."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise click.BadParameter(f"`{text}` is not KEY=VALUE, such as work.queue_timeout_s=3")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.BadParameter(f"`{value}` is not a YAML value") from None
    return settings


@click.command()
@_directory
@click.option("--peers", type=click.IntRange(1, PEERS_MAX), help=f"How many peers.  [default: {PEERS}]")
@click.option(
    "--gateways",
    type=click.IntRange(1, GATEWAYS_MAX),
    help="How many; others than 0 come last.  [default: 1]",
)
@click.option(
    "--base-port", type=click.IntRange(1024, MAX_PORT), help="Peer i: UDP at this + 10 i.  [default: 8000]"
)
@click.option("--http-port", type=click.IntRange(1024, 65535), help="The gateway's HTTP.  [default: 8888]")
@click.option(
    "--set", "settings", multiple=True, callback=_setting, metavar="KEY=VALUE", help="A setting of node.yml."
)
@click.option(
    "--example", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Run it once all serves."
)
def up(
    directory: Path,
    peers: int | None,
    gateways: int | None,
    base_port: int | None,
    http_port: int | None,
    settings: dict[str, Any],
    example: Path | None,
) -> None:
    """Start a cluster on this machine: one gateway and three peers. What runs already is left alone."""
    cluster = LocalCluster(directory)
    old = cluster.layout if cluster.exists else Layout()
    layout = Layout(
        peers or old.peers,
        base_port or old.base_port,
        http_port or old.http_port,
        settings or old.settings,
        gateways or old.gateways,
    )
    if not cluster.exists or old != layout:
        fronts = "one gateway" if layout.gateways == 1 else f"{layout.gateways} gateways"
        click.echo(f"making a cluster of {fronts} and {layout.peers} peers in {cluster.directory}")
    cluster.make(layout)
    started = cluster.start()
    if started:
        click.echo(f"started {_nodes(cluster, started)}; waiting until they serve")
    try:
        view = cluster.wait_until_serving()
    except EnvironmentFault:
        # What the machine lacks for one node it lacks for all; a cluster that ran before is left alone.
        if len(started) == len(layout.ids()):
            cluster.down()
        raise
    click.echo(f"{'serving' if started else 'runs already'}: leader {view.leader}, epoch {view.epoch}")
    if example is not None:
        click.echo(f"running {example}:")
        click.echo(client.run(cluster.gateway_url, example.read_bytes()).text)
    _say_what_next(cluster, view, example)


def _say_what_next(cluster: LocalCluster, view: client.ClusterView, example: Path | None) -> None:
    gateways = cluster.layout.gateway_ids()
    followers = (node.id for node in view.nodes if node.id not in {*gateways, view.leader})
    victim = next(followers, view.leader)
    file = example or "FILE.java"
    default = Path(".javacluster").absolute() == cluster.directory
    program = Path(sys.executable).with_name("javacluster")
    command = shlex.quote(_shortest(program)) if program.exists() else "javacluster"
    if not default:
        command = f"JAVACLUSTER_DIRECTORY={shlex.quote(_shortest(cluster.directory))} {command}"
    click.echo(
        f"\nthe gateway:  {cluster.gateway_url}\n"
        "try next:\n"
        f"  curl -i {cluster.gateway_url}/compileandrun \\\n"
        f"    -H 'Content-Type: text/x-java-source' --data-binary @{file}\n"
        f"  curl {cluster.gateway_url}/cluster-info?format=text\n"
        f"  {command} status\n"
        f"  {command} kill leader        then run something: another peer leads and answers\n"
        f"  {command} kill {victim}             a follower; {command} start {victim} brings it back\n"
        f"  {command} down"
    )


def _shortest(path: Path) -> str:
    """Relative where it lies below the current directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@click.command()
@_directory
def down(directory: Path) -> None:
    """Stop the cluster: drain every node, kill what does not stop in time."""
    cluster = LocalCluster(directory)
    if not cluster.exists:
        click.echo(f"nothing to stop: no cluster in {cluster.directory}")
        return
    running = [process.id for process in cluster.processes() if process.pid]
    if running:
        click.echo(f"stopping {_nodes(cluster, running)}")
    killed = cluster.down()
    if killed:
        click.echo(f"killed {_nodes(cluster, killed)}, which did not stop in time")
    click.echo("nothing runs")


@click.command()
@_directory
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(directory: Path, *, as_json: bool) -> None:
    """Show every node: its process, and what the gateway thinks of it."""
    cluster = LocalCluster(directory)
    processes = cluster.processes()
    try:
        view = client.look(cluster.gateway_url)
        remark = "" if view.ready else f"the gateway is not ready: {view.not_ready_reason}"
    except (Unavailable, RemoteProtocolError):
        view = client.ClusterView()
        remark = f"no gateway answers at {cluster.gateway_url}: `javacluster up` starts what is down"
    gateways = cluster.layout.gateway_ids()
    rows = [_row(process, view, gateway=process.id in gateways) for process in processes]
    if as_json:
        whole = {"leader": view.leader, "epoch": view.epoch, "remark": remark, "nodes": rows}
        click.echo(msgspec.json.format(msgspec.json.encode(whole)))
        return
    _show(rows)
    if remark:
        click.echo(remark)


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


def _show(rows: list[dict[str, Any]]) -> None:
    """A table on a terminal, aligned plain lines in a pipe."""
    if not sys.stdout.isatty():
        widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
        for row in [{key: key for key in rows[0]}, *rows]:
            click.echo("  ".join(str(row[key]).ljust(width) for key, width in widths.items()).rstrip())
        return
    table = Table()
    for key in rows[0]:
        table.add_column(key)
    for row in rows:
        down = str(row["state"]).startswith(("DOWN", "not "))
        leads = row["state"] == "LEADING"
        table.add_row(*map(str, row.values()), style="red" if down else "green" if leads else "")
    Console().print(table)


@click.command()
@_directory
@click.option("--gateway", metavar="URL", help="Another gateway than the local cluster's.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def run(ctx: click.Context, directory: Path, gateway: str | None, files: tuple[Path, ...]) -> None:
    """Compile and run a Java source file on the cluster and print what it returned or printed.

    Exits with 1 if the program failed, with 75 if the cluster can't serve now.
    """
    if len(files) > 1:
        raise JobError(
            "one source file at a time: a gateway takes neither several files nor arguments nor "
            "standard input yet; put all classes into one file"
        )
    try:
        source = files[0].read_bytes()
    except OSError as error:
        raise JobError(f"{files[0]}: {error.strerror}") from error
    reply = client.run(gateway or LocalCluster(directory).gateway_url, source)
    click.echo(reply.text, err=not reply.ok)
    if not reply.ok:
        ctx.exit(EXIT_PROGRAM_FAILED)


@click.command()
@_directory
@click.option("--signal", "name", default="KILL", show_default=True, help="Such as TERM, STOP, CONT.")
@click.argument("target", metavar="(leader | ID)")
def kill(directory: Path, name: str, target: str) -> None:
    """Kill one node of the local cluster, and say what to watch."""
    cluster = LocalCluster(directory)
    try:
        number = signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise ConfigError(f"--signal: no signal is named {name}") from None
    node = _target(cluster, target)
    pid = cluster.kill(node, number)
    click.echo(
        f"sent {number.name} to node {node} (pid {pid}); watch: `javacluster status`, "
        f"`javacluster logs`; `javacluster start {node}` brings it back"
    )


def _target(cluster: LocalCluster, target: str) -> int:
    if target.isdigit():
        return int(target)
    if target != "leader":
        raise ConfigError(f"`{target}` is neither `leader` nor a node's number")
    leader = client.look(cluster.gateway_url).leader
    if leader is None:
        raise Unavailable("there is no leader now: `javacluster status`")
    return leader


@click.command()
@_directory
@click.argument("nodes", metavar="[ID]...", nargs=-1, type=int)
def start(directory: Path, nodes: tuple[int, ...]) -> None:
    """Start nodes of the local cluster that don't run; all of them without an ID."""
    cluster = LocalCluster(directory)
    started = cluster.start(*nodes)
    click.echo(
        f"started {_nodes(cluster, started)}: `javacluster status`"
        if started
        else "nothing to start: they run"
    )


@click.command()
@_directory
@click.argument("node", metavar="[ID]", type=int, default=GATEWAY)
@click.option("--verbose", "-v", is_flag=True, help="Every message and step, instead of what matters.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added.")
@click.option(
    "-n", "lines", type=click.IntRange(0, 1_000_000), default=50, show_default=True, help="How many lines."
)
def logs(directory: Path, node: int, *, verbose: bool, follow: bool, lines: int) -> None:
    """Print the end of a node's log; the gateway's without an ID."""
    cluster = LocalCluster(directory)
    level = "verbose" if verbose else "summary"
    if node not in cluster.layout.ids():
        raise ConfigError(f"no node {node} here: they are 0 (the gateway) to {cluster.layout.peers}")
    if not any(process.pid for process in cluster.processes() if process.id == node):
        _print_log_file(cluster, node, level, lines)
        return
    for line in client.log_lines(cluster.http_url(node), level, lines, follow=follow):
        click.echo(line)


def _print_log_file(cluster: LocalCluster, node: int, level: str, lines: int) -> None:
    """What a node that is down wrote."""
    files = sorted(
        (cluster.node_directory(node) / "log").glob(f"{level}*"), key=lambda file: file.stat().st_mtime
    )
    if not files:
        raise EnvironmentFault(f"node {node} is down and left no log: `javacluster start {node}`")
    for line in files[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-lines or None :]:
        click.echo(line)


def _nodes(cluster: LocalCluster, nodes: tuple[int, ...] | list[int]) -> str:
    gateways = cluster.layout.gateway_ids()
    names = {node: f"gateway {node}" if node in gateways else f"peer {node}" for node in nodes}
    return ", ".join("the gateway" if node == GATEWAY else name for node, name in names.items())


COMMANDS = (up, down, status, run, kill, start, logs)
