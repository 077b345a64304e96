"""What a node needs before its first start: the cluster's key, a certificate, and its durable record.

Each is made only where it is missing, so that doing it again changes nothing. A record made here may not
vote yet; the node gains the vote by itself (N5).
"""

from __future__ import annotations

from pathlib import Path

from cluster.config import NodeConfig
from cluster.errors import ConfigError
from cluster.identity import NodeId, voters_hash
from cluster.net.authority import AUTHORITY, NODE, NODE_KEY, create_authority, create_key_file, issue
from cluster.net.store import RECORD, RecordStore


def provision(config: NodeConfig, authority: Path) -> list[str]:
    """Make what this node lacks; `authority` is the directory of the cluster's own authority.

    Returns:
        the files that were not there before.

    Raises:
        ConfigError: the files named in `tls` are not where, or not named as, they would be made.
        EnvironmentFault: a file can't be written, or what is there belongs to another node.
    """
    wanted = [
        authority / AUTHORITY,
        Path(config.key_file),
        Path(config.tls.certificate),
        Path(config.state_directory) / RECORD,
    ]
    missing = [path for path in wanted if not path.exists()]
    certificates = Path(config.tls.certificate).parent
    expected = tuple(str(certificates / name) for name in (AUTHORITY, NODE, NODE_KEY))
    if (config.tls.authority, config.tls.certificate, config.tls.key) != expected:
        raise ConfigError(
            f"$.tls: `init` makes {AUTHORITY}, {NODE} and {NODE_KEY} in one directory: name them so"
        )

    create_authority(authority, config.cluster)
    create_key_file(Path(config.key_file))
    issue(authority, config.cluster, NodeId(config.node), config.me.role, certificates)
    make_record(config)
    return [str(path) for path in missing]


def make_record(config: NodeConfig) -> list[str]:
    """Make the durable record alone, for a node whose secrets come from elsewhere.

    Returns:
        the record, if it was not there before.

    Raises:
        EnvironmentFault: it can't be written, or what is there belongs to another node.
    """
    path = Path(config.state_directory) / RECORD
    missing = not path.exists()
    store = RecordStore(Path(config.state_directory))
    try:
        store.create(config.cluster, config.node, voters_hash(config.cluster, config.voters))
    finally:
        store.close()
    return [str(path)] if missing else []


def accept_voters(config: NodeConfig) -> str:
    """Take on the list of peers that the configuration has now (N1); tells what was done.

    Raises:
        EnvironmentFault: the node runs, or was never set up.
    """
    store = RecordStore(Path(config.state_directory))
    try:
        store.change_voters(config.cluster, config.node, voters_hash(config.cluster, config.voters))
    finally:
        store.close()
    return f"node {config.node} accepts the peers {', '.join(map(str, config.voters))}"
