"""The embedded cluster's files: complete, checked before anything is written, made anew only when stopped."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import msgspec
import pytest

from cluster.config import load
from cluster.errors import ConfigError, EnvironmentFault
from cluster.identity import Role
from cluster.local import Layout, LocalCluster
from cluster.provision import accept_voters, make_record, provision


def test_ports_are_where_the_original_had_them() -> None:
    members = {member["id"]: member for member in Layout(peers=7).members()}
    assert members[0] == {"id": 0, "role": "gateway", "host": "127.0.0.1", "udp": 8000, "http": 8888}
    assert (members[7]["udp"], members[7]["tcp"], members[7]["http"]) == (8070, 8072, 8073)


def test_further_gateways_come_after_the_peers() -> None:
    layout = Layout(peers=3, gateways=2)
    assert layout.gateway_ids() == (0, 4)
    assert [member["id"] for member in layout.members()] == list(layout.ids())
    assert layout.members()[4] == {
        "id": 4,
        "role": "gateway",
        "host": "127.0.0.1",
        "udp": 8040,
        "http": 8043,
    }
    assert [port.number for port in layout.ports(4)] == [8040, 8043]


def test_every_node_gets_a_configuration_that_loads(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=3, settings={"work.queue_timeout_s": 3, "cluster": "mine"}))
    for node in range(4):
        config = load(cluster.config_file(node))
        assert (config.node, config.cluster, config.work.queue_timeout_s) == (node, "mine", 3)
        assert config.voters == (1, 2, 3)
        assert config.me.role is (Role.PEER if node else Role.GATEWAY)
        for file in (config.key_file, config.tls.authority, config.tls.certificate, config.tls.key):
            assert Path(file).is_file()
        assert (Path(config.state_directory) / "record.json").is_file()


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    for file in [cluster.directory / "cluster.key", *cluster.directory.rglob("*.key")]:
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_wrong_setting_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    with pytest.raises(ConfigError, match=r"\$\.gossip"):
        cluster.make(Layout(settings={"gossip.intervall": 1}))
    assert not cluster.directory.exists()


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    before = _content(cluster.directory)
    cluster.make(Layout(peers=1))
    assert _content(cluster.directory) == before


def test_another_layout_makes_a_stopped_cluster_anew(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=3))
    (cluster.directory / "mine.txt").write_text("not the cluster's")
    cluster.make(Layout(peers=1))
    assert sorted(path.name for path in cluster.directory.glob("node-*")) == ["node-0", "node-1"]
    assert load(cluster.config_file(0)).voters == (1,)
    assert (cluster.directory / "mine.txt").exists()


def test_what_was_never_started_is_stopped_without_harm(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    assert cluster.down() == ()
    cluster.make(Layout(peers=1))
    assert [process.fate for process in cluster.processes()] == ["not started", "not started"]
    assert cluster.down() == ()


def test_without_a_cluster_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="javacluster up"):
        LocalCluster(tmp_path).processes()


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(EnvironmentFault, match="remove it"):
        LocalCluster(tmp_path).processes()


def test_the_last_words_of_a_node_are_its_last_line(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    assert str(cluster.output_file(1)) in cluster.last_words(1)
    cluster.output_file(1).write_text("starting\nError: no JDK: install one\n\n")
    assert cluster.last_words(1) == "no JDK: install one"


def test_provisioning_again_makes_nothing(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    config = load(cluster.config_file(1))
    assert provision(config, cluster.directory / "authority") == []


def test_the_record_alone_needs_neither_key_nor_authority(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    config = msgspec.structs.replace(
        load(cluster.config_file(1)), key_file="/none", state_directory=str(tmp_path / "elsewhere")
    )
    assert make_record(config) == [str(tmp_path / "elsewhere" / "record.json")]
    assert make_record(config) == []


def test_another_list_of_peers_must_be_accepted_first(tmp_path: Path) -> None:
    """N1: a record keeps the voters that it was made for."""
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    file = cluster.config_file(1)
    file.write_text(
        file.read_text().replace(
            "key_file:", "- {id: 2, role: peer, host: h, udp: 8020, tcp: 8022}\nkey_file:", 1
        )
    )
    config = load(file)
    with pytest.raises(EnvironmentFault, match="init --voters"):
        provision(config, cluster.directory / "authority")
    assert "1, 2" in accept_voters(config)
    assert provision(config, cluster.directory / "authority") == []


def test_init_makes_files_only_under_the_names_that_it_knows(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    file = cluster.config_file(1)
    file.write_text(file.read_text().replace("node.pem", "other.pem"))
    with pytest.raises(ConfigError, match=r"\$\.tls"):
        provision(load(file), cluster.directory / "authority")


def _content(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_one_command_at_a_time_changes_a_cluster(tmp_path: Path) -> None:
    """Two `up` at once would start every node twice."""
    cluster = LocalCluster(tmp_path / "c")
    cluster.make(Layout(peers=1))
    with (tmp_path / "c" / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=cluster.down, daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.join(30)
    assert not waiting.is_alive()


def test_a_directory_that_may_not_be_looked_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(EnvironmentFault, match=r"can't look into .*: Permission denied"):
        _ = LocalCluster(tmp_path).exists
