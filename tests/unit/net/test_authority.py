"""The authority, certificates and keys: made once, kept if good, refused if open to others (X1, X2)."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from cluster.errors import ConfigError, EnvironmentFault, RemoteProtocolError
from cluster.identity import NodeId, Role
from cluster.net.authority import create_authority, create_key_file, issue
from cluster.net.tls import Identity, contexts, identity_of, load_keyring, require_identity
from tests.support.channels import files_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILES = ("node.key", "node.pem", "authority.pem")


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    create_authority(tmp_path / "authority", "c", at=NOW)
    return tmp_path / "authority"


@pytest.fixture
def node(authority: Path, tmp_path: Path) -> Path:
    issue(authority, "c", NodeId(2), Role.WORKER, tmp_path / "node", at=NOW)
    return tmp_path / "node"


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def certificate(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "node.pem").read_bytes())


def test_x2_a_certificate_names_node_role_and_cluster(node: Path) -> None:
    assert identity_of(certificate(node)) == Identity("c", Role.WORKER, NodeId(2))
    assert Identity("c", Role.WORKER, NodeId(2)).to_uri() == "javacluster://c/worker/2"


def test_lives_are_long_and_backdated_for_clocks_that_are_behind(node: Path, authority: Path) -> None:
    mine = certificate(node)
    theirs = x509.load_pem_x509_certificate((authority / "authority.pem").read_bytes())
    assert mine.not_valid_before_utc == NOW - timedelta(days=1)
    assert mine.not_valid_after_utc > NOW + timedelta(days=2 * 365)
    assert theirs.not_valid_after_utc > NOW + timedelta(days=10 * 365)


def test_keys_are_their_owners_alone(node: Path, authority: Path, tmp_path: Path) -> None:
    create_key_file(tmp_path / "cluster.key")
    for path in (node / "node.key", authority / "authority.key", tmp_path / "cluster.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_making_everything_again_changes_nothing(node: Path, authority: Path, tmp_path: Path) -> None:
    create_key_file(tmp_path / "cluster.key")
    before = content(node), content(authority), (tmp_path / "cluster.key").read_bytes()
    create_authority(authority, "c", at=NOW)
    issue(authority, "c", NodeId(2), Role.WORKER, node, at=NOW)
    create_key_file(tmp_path / "cluster.key")
    assert before == (content(node), content(authority), (tmp_path / "cluster.key").read_bytes())


def test_a_certificate_that_ends_soon_or_names_another_is_replaced(node: Path, authority: Path) -> None:
    old = content(node)
    issue(authority, "c", NodeId(2), Role.WORKER, node, at=NOW + timedelta(days=700))
    renewed = content(node)
    assert all(renewed[name] != old[name] for name in ("node.key", "node.pem"))
    issue(authority, "c", NodeId(2), Role.PEER, node, at=NOW + timedelta(days=700))
    assert identity_of(certificate(node)).role is Role.PEER


@pytest.mark.parametrize("missing", FILES)
def test_a_crash_in_the_middle_is_repaired_by_the_next_run(node: Path, authority: Path, missing: str) -> None:
    (node / missing).unlink()
    issue(authority, "c", NodeId(2), Role.WORKER, node, at=NOW)
    assert set(content(node)) == set(FILES)
    contexts(files_of(node))


def test_a_half_made_authority_is_not_taken_for_a_whole_one(tmp_path: Path, authority: Path) -> None:
    (authority / "authority.key").unlink()
    with pytest.raises(EnvironmentFault, match="no authority's private key there"):
        issue(authority, "c", NodeId(2), Role.WORKER, tmp_path / "node")


def test_another_clusters_authority_is_refused(authority: Path) -> None:
    with pytest.raises(EnvironmentFault, match="another cluster's authority, not that of d"):
        create_authority(authority, "d")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o666])
def test_a_secret_that_is_open_to_others_is_refused_with_the_cure(node: Path, mode: int) -> None:
    (node / "node.key").chmod(mode)
    with pytest.raises(EnvironmentFault, match=r"chmod 600 .*node\.key"):
        contexts(files_of(node))


def test_the_services_group_may_read_a_secret(node: Path) -> None:
    (node / "node.key").chmod(0o640)
    contexts(files_of(node))


@pytest.mark.parametrize("name", FILES)
def test_missing_or_damaged_files_are_named(node: Path, name: str) -> None:
    path = node / name
    path.write_bytes(b"not PEM")
    with pytest.raises(EnvironmentFault, match=name):
        contexts(files_of(node))
    path.unlink()
    with pytest.raises(EnvironmentFault, match=rf"{name}: no .* there; `javacluster init`"):
        contexts(files_of(node))


def test_files_that_do_not_fit_each_other_are_refused(node: Path, authority: Path, tmp_path: Path) -> None:
    issue(authority, "c", NodeId(3), Role.WORKER, tmp_path / "three", at=NOW)
    key = (node / "node.key").read_bytes()
    (node / "node.key").write_bytes((tmp_path / "three" / "node.key").read_bytes())
    with pytest.raises(EnvironmentFault, match="does not belong to"):
        contexts(files_of(node))
    (node / "node.key").write_bytes(key)
    create_authority(tmp_path / "other", "c", at=NOW)
    (node / "authority.pem").write_bytes((tmp_path / "other" / "authority.pem").read_bytes())
    with pytest.raises(EnvironmentFault, match="not issued by"):
        contexts(files_of(node))


def test_a_node_refuses_to_start_with_anothers_certificate(node: Path) -> None:
    """X2: in its own clear words, and not by what every peer would say of it."""
    require_identity(files_of(node), Identity("c", Role.WORKER, NodeId(2)))
    with pytest.raises(EnvironmentFault, match="is that of javacluster://c/worker/2"):
        require_identity(files_of(node), Identity("c", Role.WORKER, NodeId(3)))


def test_the_key_file_is_a_keyring(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "cluster.key"
    create_key_file(path)
    assert load_keyring(path).newest == 1
    path.write_text("1 short\n")
    with pytest.raises(ConfigError, match=r"cluster\.key: line 1"):
        load_keyring(path)


def test_x2_an_authority_names_no_node(authority: Path) -> None:
    with pytest.raises(RemoteProtocolError, match="names no node"):
        identity_of(x509.load_pem_x509_certificate((authority / "authority.pem").read_bytes()))
