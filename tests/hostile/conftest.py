"""One runner for the whole directory: that it survives every program is part of each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.java_driver import JavaDriver

HELLO = 'public class Hello { public String run() { return "hello"; } }'


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaDriver]:
    """A process with a `JavaRunner` of one slot."""
    state: Path = tmp_path_factory.mktemp("state")
    driver = JavaDriver(state, slots=1, caps={"output_bytes": 1 << 20})
    assert driver.start.started, driver.start.text
    yield driver
    assert driver.stop() == 0
    assert [path.name for path in state.iterdir() if not path.name.startswith("harness-")] == []


@pytest.fixture
def java(node: JavaDriver) -> Iterator[JavaDriver]:
    """The runner; afterwards the next program runs as ever, and nothing of the last is left (S5)."""
    yield node
    assert node.run(HELLO).value == b"hello"
    answer = node.snapshot()
    assert answer.snapshot is not None
    assert answer.snapshot["running"] == 0
    assert len(node.machines()) <= 1 + 1 + 1  # the compiler, perhaps its spare, the waiting one
