"""`node.yml`: one frozen, typed object a section; unknown keys refused with their path (architecture A5).

`load` decodes once, at the edge; each part gets its own section, nobody the whole. Secrets are paths.
Times are seconds, sizes bytes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cluster.config_gateway import CacheSettings as CacheSettings  # noqa: PLC0414  (told again on purpose)
from cluster.config_gateway import CompatSettings as CompatSettings  # noqa: PLC0414
from cluster.config_gateway import GatewaySettings as GatewaySettings  # noqa: PLC0414
from cluster.config_sections import Bytes, Count, Id, OptionalPort, Port, Seconds, Section
from cluster.documents import read_yaml
from cluster.errors import ConfigError
from cluster.identity import NodeId, Role
from cluster.limits import MIB, SLOTS_MAX, Limits, limit_problems

VOTERS_LEAST = 3
"""With fewer, no peer may be lost."""


def poor_number(voters: int) -> str:
    """Why this is not a good number of voters (N1), for people; empty when it is."""
    if voters < VOTERS_LEAST:
        return f"{voters} peers survive the loss of none: have 3 or 5"
    if voters % 2 == 0:
        return f"{voters} peers survive the loss of no more than {voters - 1} do: have an odd number"
    return ""


class Member(Section, frozen=True):
    """A configured node and where it listens."""

    id: Id
    role: Role
    host: Annotated[str, Meta(min_length=1, max_length=253)]
    udp: Port
    tcp: OptionalPort = 0
    """Work channels; peers need one, the others may leave it out."""
    http: OptionalPort = 0


class TimingSettings(Section, frozen=True):
    """Election and leadership (protocol L4): profile `lan`."""

    heartbeat_s: Seconds = 0.1
    lease_s: Seconds = 0.4
    """L: how long an acknowledged heartbeat lets the leader act, from its sending."""
    drift: Annotated[float, Meta(ge=0, le=0.2)] = 0.03
    """rho: how far two clocks' speeds may differ from true time."""
    guard_s: Seconds = 0.425
    """G: a voter promises nothing for this long after its last acknowledgement."""
    follower_timeout_s: Seconds = 0.6
    """F: without a heartbeat for this long a follower is LOOKING."""
    resend_s: Seconds = 0.1
    resend_max_s: Seconds = 1.0
    finalize_s: Seconds = 0.05
    """E5: the fixed deadline after a proposal first held a quorum."""
    handshake_s: Seconds = 1.0
    propose_every_s: Seconds = 0.05
    cool_down_min_s: Seconds = 1.0
    cool_down_max_s: Seconds = 2.0
    rejoin_s: Seconds = 10.0
    """N5 (b): how long one leader must be heard before a node without the vote gains it."""

    def problems(self) -> list[str]:
        """Cross-field rules (L4, N5), one line each."""
        found = []
        least = self.lease_s * (1 + self.drift) / (1 - self.drift)
        if self.guard_s < least:
            found.append(f"$.timing.guard_s: must be at least lease_s(1+drift)/(1-drift) = {least:.3f} (L4)")
        if self.guard_s >= self.follower_timeout_s:
            found.append("$.timing.guard_s: must be less than follower_timeout_s (L4)")
        if self.lease_s < 2 * self.heartbeat_s:
            found.append(
                "$.timing.lease_s: must be at least two heartbeats, or one lost datagram ends the lease"
            )
        if self.resend_max_s < self.resend_s:
            found.append("$.timing.resend_max_s: must not be less than resend_s (E3)")
        if self.cool_down_max_s < self.cool_down_min_s:
            found.append("$.timing.cool_down_max_s: must not be less than cool_down_min_s (E4)")
        if self.rejoin_s <= self.lease_s + self.follower_timeout_s + 1:
            found.append("$.timing.rejoin_s: must exceed lease_s + follower_timeout_s + 1 (N5)")
        return found


class GossipSettings(Section, frozen=True):
    """Membership and failure detection (protocol G1-G5): profile `lan`. Rounds are multiples of T."""

    interval_s: Seconds = 0.25
    """T."""
    fanout: Annotated[int, Meta(ge=1, le=16)] = 3
    suspect_rounds: Annotated[float, Meta(ge=2, le=1000)] = 6
    fail_rounds: Annotated[float, Meta(ge=6, le=1000)] = 10
    cleanup_rounds: Annotated[float, Meta(ge=12, le=4000)] = 20
    stretch_max: Annotated[float, Meta(ge=1, le=64)] = 8
    """How far a node that doubts itself stretches its timeouts (G4)."""
    table_max: Count = 2000
    """Nodes known at most; a row for another one is dropped."""

    def problems(self) -> list[str]:
        """Cross-field rules (G3)."""
        found = []
        if self.cleanup_rounds < 2 * self.fail_rounds:
            found.append("$.gossip.cleanup_rounds: must be at least 2 x fail_rounds (G3)")
        if self.suspect_rounds >= self.fail_rounds:
            found.append("$.gossip.suspect_rounds: must be less than fail_rounds (G3)")
        return found


class WorkSettings(Section, frozen=True):
    """Jobs: queues, patience, and what a worker keeps (protocol W3-W11)."""

    slots: Annotated[int, Meta(ge=0, le=SLOTS_MAX)] = 0
    """Jobs that this node runs at once; 0 means one a processor."""
    queue_max: Count = 1000
    """Jobs waiting at the leader; past it OVERLOADED (W4)."""
    queue_timeout_s: Seconds = 10.0
    """How long a job waits for a leader and a worker before 503 (W11)."""
    deadline_s: Seconds = 60.0
    """How long a client waits at most before 504."""
    collect_s: Seconds = 1.0
    """W7: how long a new leader waits for the HELLOs of workers before it starts repeated jobs."""
    absence_s: Seconds = 5.0
    """W6, W9, W7: how long a lost worker or gateway may be away before that counts."""
    losses_max: Annotated[int, Meta(ge=1, le=100)] = 3
    """W6: workers that a job may lose before it is given up as `worker_lost`."""
    ping_s: Seconds = 1.0
    pings_missed_max: Annotated[int, Meta(ge=1, le=100)] = 3
    kept_bytes: Bytes = 64 * MIB
    kept_s: Seconds = 60.0
    """W5: bounds of the results that a worker keeps until they are released."""
    window_bytes: Annotated[int, Meta(ge=MIB, le=32 * MIB)] = 8 * MIB
    """W14: jobs or outcomes that go out on a channel before its other end has read what went before."""
    held_max: Count = 10_000
    """L3: frames that a leader without its lease holds back."""
    drain_s: Seconds = 20.0


class SandboxSettings(Section, frozen=True):
    """How submitted programs are confined (S1-S4)."""

    mode: str = "bubblewrap"
    """`bubblewrap`, or `none`: no protection at all, shouted about; for trusted programs only."""
    require: tuple[str, ...] = ("namespaces",)
    """What must work, or the node refuses to start: `namespaces`, `seccomp`, `cgroup2`."""
    bwrap: str = "bwrap"

    def problems(self) -> list[str]:
        """Values that only these lists allow."""
        found = []
        if self.mode not in {"bubblewrap", "none"}:
            found.append(f"$.sandbox.mode: `{self.mode}` is neither bubblewrap nor none")
        found.extend(
            f"$.sandbox.require: `{name}` is not one of namespaces, seccomp, cgroup2"
            for name in self.require
            if name not in {"namespaces", "seccomp", "cgroup2"}
        )
        return found


class JavaSettings(Section, frozen=True):
    """Which JDK, and how the compiler is kept."""

    home: str = ""
    """A JDK's directory; empty: the one that `javac` on the PATH belongs to."""
    cache_directory: str = ""
    """Where what is made once for a JDK is kept, 150 MB; empty: the state directory. Nodes may share one."""
    compiler_memory_bytes: Bytes = 512 * MIB
    compiler_recycle_after: Count = 2000


class LogSettings(Section, frozen=True):
    """The two logs of H3: bounded, rotated."""

    directory: str = "log"
    rotate_bytes: Bytes = 16 * MIB
    keep: Annotated[int, Meta(ge=1, le=100)] = 3


class TlsFiles(Section, frozen=True):
    """PEM files (X2)."""

    authority: str
    certificate: str
    key: str


class NodeConfig(Section, frozen=True):
    """Everything in `node.yml`. Relative paths count from the file's own directory."""

    cluster: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    node: Id
    members: Annotated[tuple[Member, ...], Meta(min_length=1)]
    key_file: str
    tls: TlsFiles
    state_directory: str = "state"
    listen: str = ""
    """Address to bind; empty: this member's own host."""
    profile: str = "lan"
    timing: TimingSettings = TimingSettings()
    gossip: GossipSettings = GossipSettings()
    work: WorkSettings = WorkSettings()
    cache: CacheSettings = CacheSettings()
    gateway: GatewaySettings = GatewaySettings()
    limits: Limits = Limits()
    sandbox: SandboxSettings = SandboxSettings()
    java: JavaSettings = JavaSettings()
    log: LogSettings = LogSettings()

    @property
    def me(self) -> Member:
        """This node's own entry."""
        return next(member for member in self.members if member.id == self.node)

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """The peers, in order (N1)."""
        return tuple(sorted(NodeId(m.id) for m in self.members if m.role is Role.PEER))

    def warnings(self) -> list[str]:
        """What is allowed and seldom wanted, one line each."""
        found = poor_number(len(self.voters))
        return [f"$.members: {found}"] if found else []

    def timing_digest(self) -> str:
        """Eight hexadecimal digits over the intervals that must agree across the cluster (G7)."""
        text = repr((self.timing, self.gossip))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def problems(self) -> list[str]:
        """Everything that a schema can't say, one line each."""
        found: list[str] = []
        ids = [member.id for member in self.members]
        found.extend(f"$.members: id {i} appears twice" for i in sorted({i for i in ids if ids.count(i) > 1}))
        if self.node not in ids:
            found.append(f"$.node: {self.node} is not among $.members")
        if not self.voters:
            found.append("$.members: needs at least one member with role peer (N1)")
        found.extend(
            f"$.members: peer {m.id} needs a tcp port for the work channels"
            for m in self.members
            if m.role is Role.PEER and not m.tcp
        )
        addresses: dict[tuple[str, str, int], int] = {}
        for member in self.members:
            for kind, port in (("udp", member.udp), ("tcp", member.tcp), ("tcp", member.http)):
                other = addresses.setdefault((member.host, kind, port), member.id) if port else member.id
                if other != member.id or (port and kind == "tcp" and member.tcp == member.http):
                    found.append(
                        f"$.members: {kind} port {port} of {member.host} is used twice (node {member.id})"
                    )
        for section in (self.timing, self.gossip, self.sandbox, self.gateway.compat):
            found.extend(section.problems())
        return [*found, *self._access_problems(), *limit_problems(self.limits)]

    def _access_problems(self) -> list[str]:
        """H9: whoever can reach a gateway from elsewhere needs a token, or that is said on purpose."""
        me = next((member for member in self.members if member.id == self.node), None)
        if me is None or me.role is not Role.GATEWAY or not me.http:
            return []
        if is_loopback(self.listen or me.host) or self.gateway.tokens_file or self.gateway.allow_anonymous:
            return []
        ways = "`javacluster keys token NAME` makes it, or $.gateway.allow_anonymous: true"
        return [f"$.gateway.tokens_file: a gateway that others can reach needs one: {ways} (H9)"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address; of a name only `localhost` is known to be."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


PROFILES: dict[str, dict[str, dict[str, float]]] = {
    "lan": {},
    "slow": {
        "timing": {
            "heartbeat_s": 0.4,
            "lease_s": 1.6,
            "guard_s": 1.7,
            "follower_timeout_s": 2.4,
            "resend_s": 0.4,
            "resend_max_s": 4.0,
            "finalize_s": 0.2,
            "handshake_s": 4.0,
            "propose_every_s": 0.2,
            "cool_down_min_s": 4.0,
            "cool_down_max_s": 8.0,
            "rejoin_s": 40.0,
        },
        "gossip": {"interval_s": 1.0},
    },
}
"""Shipped intervals (G7): `slow` is `lan` times four. A file's own `timing` and `gossip` win over them."""


def parse(text: str) -> NodeConfig:
    """Decode and check a configuration.

    Raises:
        ConfigError: with one line a problem.
    """
    raw = read_yaml(text)
    if not isinstance(raw, dict):
        raise ConfigError("$: expected a mapping of settings")
    profile = raw.get("profile", "lan")
    if not isinstance(profile, str) or profile not in PROFILES:
        raise ConfigError(f"$.profile: `{profile}` is not one of {', '.join(PROFILES)}")
    merged: dict[str, Any] = dict(raw)
    for section, defaults in PROFILES[profile].items():
        own = raw.get(section, {})
        merged[section] = {**defaults, **own} if isinstance(own, dict) else own
    try:
        config = msgspec.convert(merged, NodeConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(_with_path_first(str(error))) from error
    if problems := config.problems():
        raise ConfigError(*problems)
    return config


def load(path: Path) -> NodeConfig:
    """Read a file and `parse` it; relative paths in it are taken from its own directory.

    Raises:
        ConfigError: the file can't be read, or see `parse`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    config = parse(text)
    base = path.resolve().parent

    def absolute(name: str) -> str:
        return str(base / name)

    compat = config.gateway.compat
    if compat.callback_key_file:
        compat = msgspec.structs.replace(compat, callback_key_file=absolute(compat.callback_key_file))
    return msgspec.structs.replace(
        config,
        key_file=absolute(config.key_file),
        tls=TlsFiles(**{field: absolute(getattr(config.tls, field)) for field in TlsFiles.__struct_fields__}),
        state_directory=absolute(config.state_directory),
        java=msgspec.structs.replace(
            config.java,
            cache_directory=absolute(config.java.cache_directory) if config.java.cache_directory else "",
        ),
        log=msgspec.structs.replace(config.log, directory=absolute(config.log.directory)),
        gateway=msgspec.structs.replace(
            config.gateway,
            compat=compat,
            tokens_file=absolute(config.gateway.tokens_file) if config.gateway.tokens_file else "",
        ),
    )


def _with_path_first(text: str) -> str:
    """Turn msgspec's "… - at `$.a.b`" into "$.a.b: …"."""
    message, separator, path = text.rpartition(" - at `")
    return f"{path.rstrip('`')}: {message}" if separator else f"$: {text}"
