"""One runner for the whole directory: that it survives every program is part of each test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.rest import KEPT, Adopting, host, more_than_rest
from tests.support.java_driver import JavaDriver

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
    driver = Adopting(state, slots=1, caps=caps, sandbox={"require": required})
    assert driver.start.started, driver.start.text
    yield driver
    assert driver.stop() == 0
    assert [path.name for path in state.iterdir() if not KEPT.fullmatch(path.name)] == []


@pytest.fixture
def java(node: JavaDriver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaDriver]:
    """The runner; afterwards the next program runs as ever, and nothing of the last is left (S5)."""
    state = next(tmp_path_factory.getbasetemp().glob("state*"))
    before = host(node, state)
    yield node
    assert node.run(HELLO).value == b"hello"
    assert more_than_rest(node) == Counter()
    assert host(node, state) == before
