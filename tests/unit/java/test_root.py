"""One directory in place of a dozen mounts (J2): what it has, and for how long it will do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.java.jdk import Jdk
from cluster.java.kept import Kept
from cluster.java.root import prepare


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A library under a second name, a directory of configuration, the program for limits."""
    host = tmp_path / "host"
    (host / "conf" / "sub").mkdir(parents=True)
    (host / "conf" / "sub" / "settings").write_text("a = 1\n")
    (host / "libx.so.1.2").write_bytes(b"library")
    (host / "libx.so.1").symlink_to("libx.so.1.2")
    (host / "prlimit").write_bytes(b"program")
    (host / "prlimit").chmod(0o755)
    return host


def made(host: Path, directory: Path) -> Kept | None:
    jdk = Jdk(Path("/opt/jdk"), "17.0.1", (host / "libx.so.1", host / "conf"))
    directory.mkdir(exist_ok=True)
    return prepare(jdk, {host / "prlimit": "/run/prlimit"}, ("/app",), ("/dev/null",), directory)


def test_it_has_what_is_shown_and_something_to_mount_on(host: Path, tmp_path: Path) -> None:
    """Also made by a node whose files are nobody else's: programs are another user where that one is root."""
    (tmp_path / "kept").mkdir()
    mask = os.umask(0o077)
    try:
        root = made(host, tmp_path / "kept")
    finally:
        os.umask(mask)
    assert root is not None
    inside = {str(path.relative_to(root.path)) for path in root.path.rglob("*") if not path.is_dir()}
    at = str(host).removeprefix("/")
    assert inside == {
        "dev/null",
        "run/prlimit",
        "proc/self/exe",
        f"{at}/libx.so.1",
        f"{at}/conf/sub/settings",
    }
    assert (root.path / at / "libx.so.1").read_bytes() == b"library"
    assert not (root.path / at / "libx.so.1").is_symlink()
    assert os.access(root.path / "run/prlimit", os.X_OK)
    assert (root.path / "proc/self/exe").readlink() == Path("/opt/jdk/bin/java")
    assert list((root.path / "opt/jdk").iterdir()) == list((root.path / "app").iterdir()) == []
    entered = (root.path, *(path for path in root.path.rglob("*") if path.is_dir()))
    assert {path.stat().st_mode & 0o777 for path in entered} == {0o755}


def test_it_is_made_once_for_the_files_of_the_host(host: Path, tmp_path: Path) -> None:
    first, second = made(host, tmp_path / "kept"), made(host, tmp_path / "kept")
    assert first is not None
    assert second is not None
    assert first.path == second.path
    assert first.fits()
    (host / "libx.so.1.2").write_bytes(b"library, mended")
    assert not first.fits()
    third = made(host, tmp_path / "kept")
    assert third is not None
    assert first.path.exists(), "a node still starts machines from it"
    for each in (first, second):
        each.release()
    made(host, tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [third.path.name]


def test_none_is_made_while_the_hosts_files_are_updated(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be the old library with the new configuration, and seem to fit."""
    copy = shutil.copy2

    def updated_meanwhile(source: Path, target: Path) -> Any:
        copied = copy(source, target)
        (host / "libx.so.1.2").write_bytes(b"library, updated")
        return copied

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copy2", updated_meanwhile)
        assert made(host, tmp_path / "kept") is None
    assert list((tmp_path / "kept").iterdir()) == []
    root = made(host, tmp_path / "kept")
    assert root is not None
    assert root.fits()


def test_there_is_none_without_one_of_its_files(host: Path, tmp_path: Path) -> None:
    (host / "libx.so.1.2").unlink()
    assert made(host, tmp_path / "kept") is None
    assert list((tmp_path / "kept").iterdir()) == []
