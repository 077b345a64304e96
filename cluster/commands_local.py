"""The commands that change the embedded cluster: up, down, kill, start."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cluster import client
from cluster.config import poor_number
from cluster.documents import read_yaml
from cluster.errors import ConfigError, EnvironmentFault, Unavailable
from cluster.java import harness
from cluster.local import GATEWAY, JAVA, PEERS, PEERS_MAX, Layout, LocalCluster

GATEWAYS_MAX = 9

MAX_PORT = 65535 - 10 * (PEERS_MAX + GATEWAYS_MAX) - 3


def directory_option(command: Callable[..., None]) -> Callable[..., None]:
    """The option that names the cluster."""
    return click.option(
        "--directory",
        envvar="JAVACLUSTER_DIRECTORY",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(".javacluster"),
        show_default=True,
        help="Where the local cluster keeps everything (also $JAVACLUSTER_DIRECTORY).",
    )(command)


def complete_node(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: the nodes of the local cluster, and where it makes sense its leader."""
    cluster = LocalCluster(ctx.params.get("directory") or Path(".javacluster"))
    names = [str(node) for node in cluster.layout.ids()] if cluster.exists else []
    if option.name == "target":
        names.append("leader")
    return [name for name in names if name.startswith(incomplete)]


def _setting(_ctx: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """`work.queue_timeout_s=3` as key and value, the value read as YAML."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise click.BadParameter(f"`{text}` is not KEY=VALUE, such as work.queue_timeout_s=3")
        try:
            settings[key] = read_yaml(value)
        except ConfigError:
            raise click.BadParameter(f"`{value}` is not a YAML value") from None
    return settings


@click.command()
@directory_option
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
        if warning := poor_number(layout.peers):
            click.echo(f"warning: {warning}", err=True)
    cluster.make(layout)
    first = not any(harness.directory(cluster.directory / JAVA).glob("*.jsa"))
    started = cluster.start()
    if started:
        click.echo(f"started {_nodes(cluster, started)}; waiting until they serve")
        if first:
            click.echo("the first start prepares the JDK for programs: ten seconds or more")
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
        token = client.token_of_environment()
        click.echo(client.run(cluster.gateway_url, example.read_bytes(), token=token).text)
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
@directory_option
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
@directory_option
@click.option("--signal", "name", default="KILL", show_default=True, help="Such as TERM, STOP, CONT.")
@click.argument("target", metavar="(leader | ID)", shell_complete=complete_node)
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
@directory_option
@click.argument("nodes", metavar="[ID]...", nargs=-1, type=int, shell_complete=complete_node)
def start(directory: Path, nodes: tuple[int, ...]) -> None:
    """Start nodes of the local cluster that don't run; all of them without an ID."""
    cluster = LocalCluster(directory)
    started = cluster.start(*nodes)
    click.echo(
        f"started {_nodes(cluster, started)}: `javacluster status`"
        if started
        else "nothing to start: they run"
    )


def _nodes(cluster: LocalCluster, nodes: tuple[int, ...] | list[int]) -> str:
    gateways = cluster.layout.gateway_ids()
    names = {node: f"gateway {node}" if node in gateways else f"peer {node}" for node in nodes}
    return ", ".join("the gateway" if node == GATEWAY else name for node, name in names.items())


COMMANDS = (up, down, kill, start)
