"""The JDK's modules with the launcher among them (J2): when there is one, and for how long.

That one can be made, and what it is worth, is shown by `tests/hostile/test_start.py` with a real JDK.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.java.image import modules_of, prepare, splice
from cluster.java.jdk import Jdk
from cluster.java.kept import Kept


@pytest.fixture
def kit(tmp_path: Path) -> Jdk:
    """A JDK of which none can be made: it has no `jmods`."""
    home = tmp_path / "jdk"
    (home / "lib").mkdir(parents=True)
    (home / "lib" / "modules").write_bytes(b"modules")
    return Jdk(home, "17.0.1", ())


def made(kit: Jdk, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """As if this JDK's own programs had made it."""

    def make(_jdk: Jdk, path: Path) -> bool:
        path.write_bytes(b"image")
        return True

    with monkeypatch.context() as patch:
        patch.setattr("cluster.java.image._make", make)
        found = prepare(kit, directory)
    assert found is not None
    return found


def test_there_is_none_where_none_can_be_made(kit: Jdk, tmp_path: Path) -> None:
    assert prepare(kit, tmp_path) is None
    modules_of(kit).unlink()
    assert prepare(kit, tmp_path) is None


def test_what_a_killed_node_left_unfinished_is_cleared_away(kit: Jdk, tmp_path: Path) -> None:
    left = tmp_path / "build-image-x"
    (left / "base").mkdir(parents=True)
    prepare(kit, tmp_path)
    assert not left.exists()


def test_another_jdks_image_goes_once_nobody_uses_it(
    kit: Jdk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node of the version before starts virtual machines from it until it ends."""
    first = made(kit, tmp_path, monkeypatch)
    first.path.with_suffix(".jsa").touch()
    modules_of(kit).write_bytes(b"updated modules")
    second = made(kit, tmp_path, monkeypatch)
    assert second.path != first.path
    assert first.path.exists()
    first.release()
    second.release()
    third = made(kit, tmp_path, monkeypatch)
    assert third.path == second.path
    assert not first.path.exists()
    assert not first.path.with_suffix(".jsa").exists()


@pytest.mark.parametrize("what", ["updated", "taken away", "image gone"])
def test_it_does_not_fit_another_jdk(
    kit: Jdk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """An update in place: classes of one version and native code of another are no virtual machine."""
    image = made(kit, tmp_path, monkeypatch)
    assert image.fits()
    if what == "updated":
        modules_of(kit).write_bytes(b"updated modules")
    else:
        (modules_of(kit) if what == "taken away" else image.path).unlink()
    assert not image.fits()


def test_another_jdks_linkage_is_left_as_it_is(tmp_path: Path) -> None:
    """Decision 13: it would look for what is not there, when a program runs."""
    factory = tmp_path / "java/lang/invoke/StringConcatFactory.class"
    factory.parent.mkdir(parents=True)
    factory.write_bytes(b"as it came")
    for version in ("17.0.1", "18", "21.0.2", ""):
        assert not splice(Jdk(tmp_path, version, ()), tmp_path)
        assert factory.read_bytes() == b"as it came"
