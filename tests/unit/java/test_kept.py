"""What is made once and kept (J2): whose it is, who holds it, and when it goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twisted.internet.task import Clock

from cluster.config import SandboxSettings
from cluster.errors import EnvironmentFault
from cluster.java import archive, harness, kept
from cluster.java.jdk import Jdk
from cluster.java.kept import Kept, clear_unfinished, discard, forget_others, states, stranger
from cluster.java.launch import Launch
from cluster.java.sandbox import LOOK_S, Sandbox

MINE, OTHER = "root-0123456789abcdef", "root-fedcba9876543210"
KIT = Jdk(Path("/opt/jdk"), "17.0.1", ())


class Killed(Exception):
    """As if the node were killed in that moment."""


@pytest.mark.parametrize(
    "name", ["root-ca.pem", "root-data", "root-fedcba9876543210.old", "image-fedcba9876543210"]
)
def test_what_is_not_made_by_a_node_is_left_alone(tmp_path: Path, name: str) -> None:
    """Whoever configures a directory may have files of his own there."""
    (tmp_path / MINE).mkdir()
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").touch()
    forget_others(tmp_path / MINE)
    assert (tmp_path / name / "precious").exists()


def test_one_that_cannot_be_opened_does_not_keep_the_others(tmp_path: Path) -> None:
    (tmp_path / MINE).mkdir()
    (tmp_path / "root-0000000000000000").symlink_to("nowhere")
    (tmp_path / OTHER).mkdir()
    forget_others(tmp_path / MINE)
    assert (tmp_path / MINE).exists()
    assert not (tmp_path / OTHER).exists()


def test_a_node_killed_while_it_takes_one_away_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its own name, the next node that wants it would take it for the whole."""
    for name in ("a", "b"):
        (tmp_path / OTHER / name).mkdir(parents=True)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            discard(tmp_path / OTHER)
    assert not (tmp_path / OTHER).exists()
    clear_unfinished(tmp_path, "root")
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_holds_is_not_taken_away(tmp_path: Path) -> None:
    (tmp_path / OTHER).mkdir()
    holder = Kept(tmp_path / OTHER)
    assert not discard(tmp_path / OTHER)
    assert (tmp_path / OTHER).exists()
    holder.release()
    assert discard(tmp_path / OTHER)
    assert not (tmp_path / OTHER).exists()


def test_with_a_file_go_its_archives(tmp_path: Path) -> None:
    jar = tmp_path / "harness-0123456789abcdef.jar"
    for path in (jar, jar.with_suffix(".jsa"), jar.with_name(f"{jar.stem}-bare.jsa")):
        path.touch()
    assert discard(jar)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_user_owns_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run with this node's rights."""
    monkeypatch.setattr(harness, "_may_enter", lambda _path: True)
    (tmp_path / MINE).mkdir()
    os.chown(tmp_path / MINE, 12345, 12345)
    assert stranger(tmp_path / MINE) == "user 12345 owns it"
    with pytest.raises(PermissionError, match="user 12345 owns it"):
        Kept(tmp_path / MINE)
    with pytest.raises(EnvironmentFault, match=r"user 12345 owns it.*java\.cache_directory"):
        harness.directory(tmp_path / MINE)


@pytest.mark.parametrize(
    ("mode", "group", "fine"), [(0o777, 0, False), (0o775, 0, True), (0o775, 12345, False)]
)
def test_what_others_may_write_is_not_used(tmp_path: Path, mode: int, group: int, fine: bool) -> None:
    """This process's own group is the same user on most systems, and root's is root."""
    if os.geteuid() != 0:
        pytest.skip("only root can change a group at will")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    os.chown(shared, -1, group)
    assert (stranger(shared) == "") is fine


def test_a_directory_that_is_made_can_be_entered_by_programs(tmp_path: Path) -> None:
    """They are another user where the node is root."""
    mask = os.umask(0o077)
    try:
        harness.directory(tmp_path / "java")
    finally:
        os.umask(mask)
    assert (tmp_path / "java").stat().st_mode & 0o777 == 0o755


def test_an_archive_that_does_not_work_here_and_now_stays(tmp_path: Path) -> None:
    """Another node may start machines with it; that it does not work may be for want of memory."""
    shared = tmp_path / "harness-0123456789abcdef.jsa"
    shared.write_bytes(b"archive")
    assert not archive.prepare(("false",), shared, KIT)
    assert shared.read_bytes() == b"archive"
    assert [path.name for path in tmp_path.iterdir()] == [shared.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_nothing_is_started_from_another_users_archive(tmp_path: Path) -> None:
    """It would be with this node's rights."""
    planted, ran = tmp_path / "harness-0123456789abcdef.jsa", tmp_path / "ran"
    planted.touch()
    java = ("sh", "-c", f'case "$*" in *{planted.name}*) touch {ran} ;; esac', "sh")
    assert archive._works(java, planted)
    ran.unlink()
    os.chown(planted, 12345, 12345)
    assert not archive._works(java, planted)
    assert not ran.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="about a node of root")
def test_a_closed_directory_of_another_user_is_not_used_and_no_failure(tmp_path: Path) -> None:
    """Its service's state directory, with the node started by sudo."""
    closed = tmp_path / "state"
    closed.mkdir(mode=0o700)
    os.chown(closed, 12345, 12345)
    assert harness.directory(closed) == harness.SHARED


def test_an_archive_that_is_gone_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else no machine started any more."""
    jar = tmp_path / "harness-0123456789abcdef.jar"
    jar.touch()

    def make(_java: object, path: Path, _jdk: object) -> bool:
        path.touch()
        return True

    monkeypatch.setattr(archive, "prepare", make)
    launch = Launch(KIT, jar, confined=False)
    assert launch.prepare("")
    assert any("SharedArchiveFile" in word for word in launch.class_path(boot=True))
    jar.with_name(f"{jar.stem}-bare.jsa").unlink()
    launch.look()
    assert not any("SharedArchiveFile" in word for word in launch.class_path(boot=True))


def test_a_root_that_does_not_fit_any_more_stays_while_machines_may_have_it(tmp_path: Path) -> None:
    """It is the root directory of those that were started before."""
    library, jar, used = (tmp_path / name for name in ("libc.so.6", "harness.jar", MINE))
    library.write_bytes(b"library")
    jar.touch()
    used.mkdir()
    clock: Any = Clock()  # spawns nothing
    sandbox = Sandbox(clock, SandboxSettings(), KIT, Kept(jar), tmp_path)
    root = Kept(used, states((library,)))
    sandbox._root = root
    sandbox._held.append(root)
    sandbox._look()
    assert sandbox._root is root
    library.write_bytes(b"library, updated")
    clock.advance(LOOK_S)
    sandbox._look()
    assert vars(sandbox)["_root"] is None
    assert not discard(used)
    sandbox.release()
    assert discard(used)


def test_nodes_of_one_directory_make_one_thing_at_a_time(tmp_path: Path) -> None:
    with kept.locked(tmp_path):
        script = (
            "import fcntl, pathlib, sys\n"
            "file = next(pathlib.Path(sys.argv[1]).glob('*-lock')).open('w')\n"
            "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert b"BlockingIOError" in done.stderr
