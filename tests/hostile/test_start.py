"""What a node needs to start, and what it says when that is missing (S4)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cluster.java.frames import NONCE_BYTES, encode_task
from cluster.java.harness import LAUNCHER, build, directory
from cluster.java.jdk import find
from cluster.wire.jobs import Verdict
from tests.hostile.conftest import HELLO
from tests.hostile.rest import KEPT
from tests.support.halfmade import HalfMade
from tests.support.java_driver import ANSWER_S, JavaDriver, main_class, program
from tests.support.kept import lend


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ({"java": {"home": "/nowhere"}}, "openjdk-17-jdk-headless"),
        ({"sandbox": {"bwrap": "no-such-bwrap"}}, "apt-get install bubblewrap"),
        ({"sandbox": {"require": ["namespaces", "cgroup2"]}}, "cgroup2"),
        ({"sandbox": {"bwrap": "false"}}, "sandbox.mode: none"),
    ],
)
def test_a_missing_part_refuses_the_start_and_names_the_fix(
    tmp_path: Path, setup: dict[str, Any], words: str
) -> None:
    driver = JavaDriver(tmp_path, **setup)
    assert driver.start.started is False
    assert driver.start.error == "EnvironmentFault"
    assert words in driver.start.text
    assert driver.machines() == []
    assert driver.stop() == 0


def test_without_a_sandbox_it_runs_and_shouts(tmp_path: Path) -> None:
    driver = JavaDriver(tmp_path, sandbox={"mode": "none", "require": []})
    assert driver.start.level == "none"
    assert "SANDBOX OFF" in driver.start.text
    assert driver.run(HELLO).value == b"hello"
    spin = driver.run(main_class("while (true) {}"), cpu_s=0.4)
    assert (spin.verdict, spin.detail) == (Verdict.TIME_LIMIT, "cpu")
    assert driver.stop() == 0
    assert [path.name for path in tmp_path.iterdir() if not KEPT.fullmatch(path.name)] == []


def _copied(source: str, target: str) -> None:
    """A link where that is possible, as a JDK is large; of what a test changes never."""
    try:
        if target.endswith("/modules"):
            shutil.copy2(source, target)
        else:
            os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def copy_of_the_jdk(*without: str) -> Iterator[Path]:
    """Where any user can read it, as those who run programs must."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        home = Path(place) / "jdk"
        ignored = shutil.ignore_patterns("src.zip", "man", "legal", *without)
        shutil.copytree(find("").home, home, symlinks=True, ignore=ignored, copy_function=_copied)
        yield home


WITHIN = main_class(
    'System.out.print(Object.class.getModule().getPackages().contains("javacluster.internal"));'
)
DIES = main_class("throw new IllegalStateException();")
TRACE = b'Exception in thread "main" java.lang.IllegalStateException\n\tat M.main(M.java:1)\n'


def test_the_launcher_is_one_of_the_jdks_own_classes(tmp_path: Path) -> None:
    """J2: an image, which no program can tell from the JDK by its class path or its stack traces."""
    driver = JavaDriver(tmp_path)
    assert driver.start.started, driver.start.text
    assert driver.run(WITHIN).stdout == b"true"
    assert driver.run(DIES).stderr == TRACE
    snapshot = driver.snapshot().snapshot
    assert snapshot is not None
    assert snapshot["archived"]
    assert driver.stop() == 0


def test_a_jdk_of_which_no_image_can_be_made_will_do(tmp_path: Path) -> None:
    """J2: some distributions have such. The launcher is on the boot class path then, and as invisible."""
    with copy_of_the_jdk("jmods") as home:
        driver = JavaDriver(tmp_path, java={"home": str(home)})
        assert driver.start.started, driver.start.text
        assert driver.run(WITHIN).stdout == b"false"
        assert driver.run(DIES).stderr == TRACE
        assert driver.run(HELLO).value == b"hello"
        snapshot = driver.snapshot().snapshot
        assert snapshot is not None
        assert snapshot["archived"]
        assert driver.stop() == 0


def test_a_jdk_that_is_updated_under_a_running_node_runs_programs(tmp_path: Path) -> None:
    """J2: the old one's classes on the new one's native code would be no virtual machine."""
    with copy_of_the_jdk() as home:
        driver = JavaDriver(tmp_path, slots=1, java={"home": str(home)})
        assert driver.start.started, driver.start.text
        assert driver.run(WITHIN).stdout == b"true"
        os.utime(home / "lib" / "modules")
        deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
        while driver.run(WITHIN).stdout != b"false":  # some waited already, and a node looks once a second
            assert time.monotonic() < deadline  # noqa: TID251
        assert driver.run(HELLO).value == b"hello"
        assert driver.stop() == 0


@pytest.fixture
def cache() -> Iterator[Path]:
    """A directory that programs' machines are started from, of this test alone; all may enter it."""
    with tempfile.TemporaryDirectory(prefix="javacluster-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "java"


def _roots(driver: JavaDriver) -> set[str]:
    """What machines of this node have as their root directory, by the host's name.

    The first compiler, which compiles what the archive is made with, is there before.
    """
    found = set()
    for pid in driver.machines():
        with suppress(OSError):  # it has ended meanwhile
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                fields = line.split()
                found |= {Path(fields[3]).name} if fields[4] == "/" else set()
    return found


@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_damaged_root_is_made_again(tmp_path: Path, cache: Path, damage: str) -> None:
    """J2: power was cut while it was written, or somebody cleared up. No start fails for it."""
    lend(cache)
    for _ in range(2):
        driver = JavaDriver(tmp_path, slots=1, java={"cache_directory": str(cache)})
        assert driver.start.started, driver.start.text
        assert driver.run(HELLO).value == b"hello"
        (root,) = cache.glob("root-*")
        deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
        while root.name not in _roots(driver):
            assert time.monotonic() < deadline  # noqa: TID251
            time.sleep(0.02)
        assert driver.stop() == 0
        (library,) = root.rglob("libc.so.6")
        whole = library.stat().st_size
        assert whole > 0
        if damage == "cut":
            os.truncate(library, 0)
        else:
            library.unlink()


def test_where_nothing_kept_can_be_executed_a_node_starts_too(tmp_path: Path, cache: Path) -> None:
    """J2: a file system for data only, as careful hosts have for `/var`. The files are bound one by one."""
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "none", cache], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        driver = JavaDriver(tmp_path, slots=1, java={"cache_directory": str(cache)})
        assert driver.start.started, driver.start.text
        assert driver.run(HELLO).value == b"hello"
        assert list(cache.glob("root-*")) == []
        assert driver.stop() == 0
    finally:
        subprocess.run(["umount", cache], check=True)


INHERITED = {
    "static": ("protected static void main(String[] args)", "args.length"),
    "of an object": ("protected void main(String[] args)", "args.length"),
    "without arguments": ("protected void main()", "1"),
}


@pytest.mark.parametrize("kind", INHERITED)
def test_a_main_inherited_across_packages_is_entered(tmp_path: Path, kind: str) -> None:
    """P2: on JDK 25; the launcher enters it on every one, and so is asked itself."""
    head, count = INHERITED[kind]
    (tmp_path / "Base.java").write_text(
        f"package a; public class Base {{ {head} {{ System.out.print({count}); }} }}"
    )
    (tmp_path / "M.java").write_text("package b; public class M extends a.Base { }")
    kit = find("")
    made = tmp_path / "made"
    subprocess.run([kit.javac, "-d", made, "Base.java", "M.java"], cwd=tmp_path, check=True)
    classes = {
        str(path.relative_to(made)).removesuffix(".class"): path.read_bytes()
        for path in made.rglob("*.class")
    }
    task = encode_task(bytes(2 * NONCE_BYTES), "main", 1000, "b.M", ("one",), classes)
    empty = tmp_path / "empty"
    empty.mkdir()
    java = (kit.java, f"-Xbootclasspath/a:{build(kit, tmp_path).path}", "-cp", empty, LAUNCHER, "here")
    done = subprocess.run(java, input=task, capture_output=True, check=True, timeout=ANSWER_S)
    ready, shown, void, end = done.stdout[:5], done.stdout[5:6], done.stdout[6:7], done.stdout[-21:-20]
    assert (ready, shown, void, end) == (b"R" + bytes(4), b"1", b"D", b"E")


def test_a_killed_compiler_loses_no_job_and_a_killed_node_leaves_no_process(tmp_path: Path) -> None:
    """J1, S5."""
    driver = JavaDriver(tmp_path, slots=1)
    assert driver.start.started, driver.start.text
    for pid in driver.machines():
        os.kill(pid, signal.SIGKILL)
    assert driver.outcome(program(HELLO)).verdict is Verdict.OK
    assert driver.snapshot().capacities == (1, 0, 1)
    machines = driver.machines()
    assert machines
    os.kill(driver.pid, signal.SIGKILL)
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while any(Path(f"/proc/{pid}").exists() for pid in machines):
        assert time.monotonic() < deadline  # noqa: TID251
        time.sleep(0.02)
    driver.stop()


def test_a_node_ends_at_its_start_what_a_killed_one_left_half_made(tmp_path: Path) -> None:
    """S5: it would sleep for ever, and hold the pipes of the node that is gone."""
    kept = directory(tmp_path)
    left, others, waiting = HalfMade(kept), HalfMade(tmp_path / "another"), HalfMade(kept)
    try:
        left.kill_bubblewrap()
        others.kill_bubblewrap()
        driver = JavaDriver(tmp_path)
        assert driver.start.started, driver.start.text
        assert left.gone()
        assert others.alive(), "of another directory"
        assert waiting.alive(), "its bubblewrap lives"
        assert driver.stop() == 0
    finally:
        for made in (left, others, waiting):
            made.end()
