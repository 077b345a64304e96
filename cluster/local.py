"""The embedded cluster: one gateway and some peers on loopback, each a process of its own.

Everything it has lies in one directory: what it was made with (`cluster.json`), the key and the authority
that its nodes share, and a directory for each node with its `node.yml`, record, logs, and its process.
Only processes named there are ever signalled, and only if their start time still matches.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cluster import client, provision
from cluster.config import NodeConfig, load, parse
from cluster.errors import ConfigError, EnvironmentFault, RemoteProtocolError, StorageError, Unavailable
from cluster.identity import Role
from cluster.namespaces import Namespaces
from cluster.processes import Port, Process, bury, one_at_a_time, require_free, spawn, stop, wait_until

HOST = "127.0.0.1"
JAVA = "java"
"""Directory with what is made once for the JDK, beside those of the nodes."""
GATEWAY = 0
PEERS = 3
PEERS_MAX = 99
BASE_PORT = 8000
HTTP_PORT = 8888

READY_S = 120.0
"""How long a cluster may take until it serves: the first start compiles the harness and warms the JVMs."""

STOP_MARGIN_S = 5.0
"""Beyond its drain time, how long a node may take to stop before it is killed."""


class Layout(msgspec.Struct, frozen=True):
    """What an embedded cluster is made with; stored, so that every command knows it.

    Attributes:
        peers: how many; their ids are 1 to `peers`, the gateway's is 0.
        gateways: how many; further ones have the ids above the peers'.
        base_port: node i has UDP base + 10 i, and TCP (peers) 2 and HTTP 3 above that; the gateway UDP base.
        http_port: where the gateway serves clients.
        settings: dotted key and value of `node.yml`, for every node.
        network: nodes run in its namespaces; None: on loopback.
    """

    peers: int = PEERS
    base_port: int = BASE_PORT
    http_port: int = HTTP_PORT
    settings: dict[str, Any] = {}
    gateways: int = 1
    network: Namespaces | None = None

    def host(self, node: int) -> str:
        """The address that a node listens at."""
        return HOST if self.network is None else self.network.address(node)

    def ids(self) -> range:
        """The gateway, the peers, and further gateways."""
        return range(self.peers + self.gateways)

    def gateway_ids(self) -> tuple[int, ...]:
        """The gateways, the one that commands talk to first."""
        return (GATEWAY, *range(self.peers + 1, self.peers + self.gateways))

    def members(self) -> list[dict[str, Any]]:
        """The `members` of `node.yml`."""
        gateway = {
            "id": GATEWAY,
            "role": Role.GATEWAY.value,
            "host": self.host(GATEWAY),
            "udp": self.base_port,
            "http": self.http_port,
        }
        return [gateway, *(self._member(node) for node in self.ids()[1:])]

    def _member(self, node: int) -> dict[str, Any]:
        udp = self.base_port + 10 * node
        place = {"id": node, "host": self.host(node), "udp": udp, "http": udp + 3}
        if node in self.gateway_ids():
            return {**place, "role": Role.GATEWAY.value}
        return {**place, "role": Role.PEER.value, "tcp": udp + 2}

    def document(self, node: int) -> dict[str, Any]:
        """What `node.yml` of this node says."""
        document: dict[str, Any] = {
            "cluster": "local",
            "node": node,
            "members": self.members(),
            "key_file": "../cluster.key",
            "tls": {"authority": "authority.pem", "certificate": "node.pem", "key": "node.key"},
            "java": {"cache_directory": f"../{JAVA}"},
        }
        for key, value in self.settings.items():
            *sections, name = key.split(".")
            place = document
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
        return document

    def ports(self, node: int) -> list[Port]:
        """Where this node listens on this machine: nowhere, if it has a namespace of its own."""
        if self.network is not None:
            return []
        member = self.members()[node]
        named = (("udp", "udp"), ("tcp", "tcp"), ("http", "tcp"))
        return [Port(HOST, kind, member[name]) for name, kind in named if name in member]


class Life(msgspec.Struct, frozen=True):
    """The process that was last started for a node, and the signal that `kill` sent it, if any."""

    process: Process
    signal: str = ""


class NodeProcess(msgspec.Struct, frozen=True):
    """A node as this machine's process table shows it.

    Attributes:
        pid: 0 while it does not run.
        fate: empty while it runs; else why it does not, for people.
    """

    id: int
    pid: int
    fate: str


class LocalCluster:
    """One embedded cluster, named by its directory; doing a thing twice does no harm."""

    def __init__(self, directory: Path) -> None:
        """Nothing is read or written yet."""
        self.directory = directory.absolute()

    # --- what it is made of ------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """What it was made with.

        Raises:
            EnvironmentFault: there is none.
        """
        try:
            return msgspec.json.decode(self._layout_file.read_bytes(), type=Layout)
        except FileNotFoundError:
            raise EnvironmentFault(
                f"no cluster in {self.directory}: `javacluster up` makes one, --directory names another place"
            ) from None
        except (OSError, msgspec.DecodeError) as error:
            raise EnvironmentFault(
                f"{self._layout_file}: {error}; remove it and run `javacluster up`"
            ) from error

    @property
    def exists(self) -> bool:
        """Whether one was made here.

        Raises:
            StorageError: nobody may look.
        """
        try:
            return self._layout_file.exists()
        except OSError as error:
            raise StorageError(f"can't look into {self.directory}: {error.strerror}") from error

    @property
    def gateway_url(self) -> str:
        """Where its gateway serves."""
        return self.http_url(GATEWAY)

    def http_url(self, node: int) -> str:
        """Where a node serves HTTP."""
        return f"http://{self.layout.host(node)}:{self.layout.members()[node]['http']}"

    def node_directory(self, node: int) -> Path:
        """Where everything of one node lies."""
        return self.directory / f"node-{node}"

    def config_file(self, node: int) -> Path:
        """A node's `node.yml`."""
        return self.node_directory(node) / "node.yml"

    def output_file(self, node: int) -> Path:
        """What a node's process printed."""
        return self.node_directory(node) / "output.log"

    def make(self, layout: Layout) -> None:
        """Write everything that nodes of this layout need; what an earlier layout left is removed.

        Raises:
            ConfigError: a setting is wrong, or another cluster runs here.
            StorageError: the directory can't be written.
        """
        configs = [parse(yaml.safe_dump(layout.document(node))) for node in layout.ids()]
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"can't write {self.directory}: {error.strerror}") from error
        with one_at_a_time(self.directory / "lock"):
            self._make(layout, configs)

    def _make(self, layout: Layout, configs: list[NodeConfig]) -> None:
        if self.exists and self.layout == layout:
            return
        if self.exists and any(process.pid for process in self.processes()):
            raise ConfigError("a cluster made with other options runs here: `javacluster down` first")
        try:
            if self.exists:
                self._remove()
            for config in configs:
                self._make_node(layout, config)
            # Last, so that a cluster half made is made again.
            self._layout_file.write_bytes(msgspec.json.encode(layout))
        except OSError as error:
            raise StorageError(f"can't write {self.directory}: {error.strerror}") from error

    def _make_node(self, layout: Layout, config: NodeConfig) -> None:
        directory = self.node_directory(config.node)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        self.config_file(config.node).write_text(
            yaml.safe_dump(layout.document(config.node), sort_keys=False)
        )
        provision.provision(load(self.config_file(config.node)), self.directory / "authority")

    def _remove(self) -> None:
        """Forget a stopped cluster: only what `make` wrote."""
        self._layout_file.unlink()
        (self.directory / "cluster.key").unlink(missing_ok=True)
        shutil.rmtree(self.directory / "authority", ignore_errors=True)
        for node in self.directory.glob("node-*"):
            shutil.rmtree(node)

    # --- its processes -----------------------------------------------------------------------------

    def processes(self) -> list[NodeProcess]:
        """Every node, the gateway first, as the process table has it now."""
        return [self._process(node) for node in self.layout.ids()]

    def start(self, *nodes: int) -> tuple[int, ...]:
        """Start those of these nodes that don't run; all when none is named. Returns what was started.

        Raises:
            EnvironmentFault: a port is taken.
        """
        with one_at_a_time(self.directory / "lock"):
            return self._start(nodes)

    def _start(self, nodes: tuple[int, ...]) -> tuple[int, ...]:
        missing = tuple(node for node in nodes or self.layout.ids() if not self._checked(node).pid)
        require_free(port for node in missing for port in self.layout.ports(node))
        for node in missing:
            command = [sys.executable, "-m", "cluster.cli", "node", "--config", str(self.config_file(node))]
            if self.layout.network is not None:
                command = [*self.layout.network.inside(node), *command]
            # Each life has its own output, so that `up` can show what a node that ended had to say.
            self.output_file(node).unlink(missing_ok=True)
            self._remember(node, Life(spawn(command, self.node_directory(node), self.output_file(node))))
        return missing

    def kill(self, node: int, number: signal.Signals) -> int:
        """Send a node a signal; returns the pid that got it.

        Raises:
            Unavailable: it does not run.
        """
        process = self._checked(node)
        life = self._life(node)
        if life is None or not life.process.send(number):
            raise Unavailable(
                f"node {node} does not run: {process.fate}; `javacluster start {node}` starts it"
            )
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self._remember(node, Life(life.process, number.name))
            if number is signal.SIGKILL:
                wait_until(lambda: not life.process.alive(), STOP_MARGIN_S)
                bury(life.process, "bwrap")
        return life.process.pid

    def down(self) -> tuple[int, ...]:
        """Stop every node: the gateways first, so that the peers still answer what it owes its clients.

        Returns:
            the nodes that did not stop in time and were killed.
        """
        if not self.exists:
            return ()
        with one_at_a_time(self.directory / "lock"):
            return self._stop_all()

    def _stop_all(self) -> tuple[int, ...]:
        lives = {node: life for node in self.layout.ids() if (life := self._life(node))}
        fronts = self.layout.gateway_ids()
        peers = [life.process for node, life in lives.items() if node not in fronts]
        gateways = [life.process for node, life in lives.items() if node in fronts]
        patience = load(self.config_file(GATEWAY)).work.drain_s + STOP_MARGIN_S
        killed = {*stop(gateways, patience), *stop(peers, patience)}
        for node in lives:
            self._process_file(node).unlink(missing_ok=True)
        return tuple(node for node, life in lives.items() if life.process in killed)

    def wait_until_serving(self, patience_s: float = READY_S) -> client.ClusterView:
        """Wait for a leader that the gateway follows, and for every running node to be ready in its own eyes.

        Raises:
            EnvironmentFault: a node ended; the text is what it had to say.
            Unavailable: not within `patience_s`.
        """
        view = client.ClusterView()
        started = [process.id for process in self.processes() if process.pid]

        def ready() -> bool:
            nonlocal view
            self._require_running(started)
            try:
                view = client.look(self.gateway_url)
                return view.ready and view.leader is not None and all(self._serves(view, i) for i in started)
            except (Unavailable, RemoteProtocolError):
                return False

        if not wait_until(ready, patience_s):
            raise Unavailable(
                f"not serving after {patience_s:g} s: `javacluster status` and `javacluster logs` tell why"
            )
        return view

    def _serves(self, view: client.ClusterView, node: int) -> bool:
        """Whether a node can do its part, its virtual machines warm, and follows the same leader.

        What the gateway shows of a node that was started again is at first what it was before; so ask itself.
        """
        row = view.node(node)
        alive = row is not None and row.status == "ALIVE"
        if not alive or node == GATEWAY:
            return alive  # `view` is what that gateway says of itself
        own = client.look(self.http_url(node))
        return own.ready and own.leader == view.leader

    def _require_running(self, nodes: list[int]) -> None:
        for node in nodes:
            if not self._process(node).pid:
                raise EnvironmentFault(f"node {node} stopped: {self.last_words(node)}")

    def last_words(self, node: int) -> str:
        """The last line that a node's process printed, or where to look."""
        file = self.output_file(node)
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.strip()]
        return said[-1].removeprefix("Error: ") if said else f"it said nothing in {file}"

    def _process(self, node: int) -> NodeProcess:
        life = self._life(node)
        if life is None:
            return NodeProcess(node, 0, "not started")
        if life.process.alive():
            return NodeProcess(node, life.process.pid, "")
        return NodeProcess(
            node, 0, f"DOWN ({'killed by ' + life.signal if life.signal else 'ended by itself'})"
        )

    def _checked(self, node: int) -> NodeProcess:
        if node not in self.layout.ids():
            raise ConfigError(f"no node {node} here: they are 0 (the gateway) to {self.layout.peers}")
        return self._process(node)

    def _life(self, node: int) -> Life | None:
        try:
            return msgspec.json.decode(self._process_file(node).read_bytes(), type=Life)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StorageError(f"{self._process_file(node)}: {error}") from error

    def _remember(self, node: int, life: Life) -> None:
        temporary = self._process_file(node).with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(life))
        temporary.replace(self._process_file(node))

    def _process_file(self, node: int) -> Path:
        return self.node_directory(node) / "process.json"

    @property
    def _layout_file(self) -> Path:
        return self.directory / "cluster.json"
