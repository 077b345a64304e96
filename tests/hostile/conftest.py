"""One runner for the whole directory: that it survives every program is part of each test."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.java.harness import SHARED
from tests.support.java_driver import ANSWER_S, JavaDriver

HELLO = 'public class Hello { public String run() { return "hello"; } }'


SCOPE = ("systemd-run", "--scope", "--quiet", "--property=Delegate=cpu memory pids", "--")
"""Becomes the node's process, with a control group that it may divide."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--delegated", action="store_true", help="Give each node a control group of its own.")
    parser.addoption("--stretch", type=float, default=1.0, help="Multiply programs' limits of time.")
    parser.addoption("--part", default="", help="Only rows of these parts of the catalogue, such as TM.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The catalogue's rows are known by the first letter of their ids."""
    if parts := config.getoption("--part"):
        rows = [item for item in items if "test_a_hostile_program" in item.name]
        items[:] = [item for item in items if item not in rows or item.name.partition("[")[2][0] in parts]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[JavaDriver]:
    """A process with a `JavaRunner` of one slot."""
    state: Path = tmp_path_factory.mktemp("state")
    JavaDriver.stretch = JavaDriver.patience = request.config.getoption("--stretch")
    required = ["namespaces"]
    if request.config.getoption("--delegated"):
        JavaDriver.prefix = SCOPE
        required += ["seccomp", "cgroup2"]
    caps = {"wall_s": 60.0 * JavaDriver.stretch, "cpu_s": 5.0 * JavaDriver.stretch}
    driver = JavaDriver(state, slots=1, caps=caps, sandbox={"require": required})
    assert driver.start.started, driver.start.text
    yield driver
    assert driver.stop() == 0
    assert [path.name for path in state.iterdir() if not KEPT.fullmatch(path.name)] == []


KEPT = re.compile(r"harness-lock|(harness|image|root)-[0-9a-f]{16}(-bare)?(\.[a-z]+)?")
"""What a node keeps for its next start."""

AT_REST = 1 + 1 + 1
"""Virtual machines of a node without work: the compiler, perhaps its spare, the waiting one."""

_PLACES = ("/", "/tmp", "/dev/shm")  # noqa: S108  (the host's own, which no program may reach)


def _host(node: JavaDriver, state: Path) -> dict[str, object]:
    """What no program may change: the harness, the mounts, and which files lie about."""
    mounts = Path(f"/proc/{node.pid}/mounts").read_text().splitlines()
    kept = sorted(
        path
        for place in (state, SHARED)
        for kind in ("harness-*.jar", "image-*")
        for path in place.glob(kind)
    )
    return {
        "harness": {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in kept},
        "mounts": [line for line in mounts if " nsfs " not in line],  # somebody's network, never a program's
        "places": [sorted(path.name for path in Path(place).glob("mark*")) for place in _PLACES],
    }


@pytest.fixture
def java(node: JavaDriver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaDriver]:
    """The runner; afterwards the next program runs as ever, and nothing of the last is left (S5)."""
    state = next(tmp_path_factory.getbasetemp().glob("state*"))
    before = _host(node, state)
    yield node
    assert node.run(HELLO).value == b"hello"
    answer = node.snapshot()
    assert answer.snapshot is not None
    assert answer.snapshot["running"] == 0
    assert len(node.machines()) <= AT_REST
    deadline = time.monotonic() + ANSWER_S  # noqa: TID251  (a test that waits for real processes)
    while len(node.cells()) > AT_REST:
        assert time.monotonic() < deadline, node.cells()  # noqa: TID251
        time.sleep(0.02)
    assert _host(node, state) == before
