"""One runner for the whole directory: that it survives every program is part of each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.java.harness import SHARED
from tests.support.java_driver import JavaDriver

HELLO = 'public class Hello { public String run() { return "hello"; } }'


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JavaDriver]:
    """A process with a `JavaRunner` of one slot."""
    state: Path = tmp_path_factory.mktemp("state")
    driver = JavaDriver(state, slots=1, caps={"wall_s": 60.0})
    assert driver.start.started, driver.start.text
    yield driver
    assert driver.stop() == 0
    assert [path.name for path in state.iterdir() if not path.name.startswith("harness-")] == []


_PLACES = ("/", "/tmp", "/dev/shm")  # noqa: S108  (the host's own, which no program may reach)


def _host(node: JavaDriver, state: Path) -> dict[str, object]:
    """What no program may change: the harness, the mounts, and which files lie about."""
    kept = sorted(path for place in (state, SHARED) for path in place.glob("harness-*.jar"))
    return {
        "harness": {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in kept},
        "mounts": Path(f"/proc/{node.pid}/mounts").read_text(),
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
    assert len(node.machines()) <= 1 + 1 + 1  # the compiler, perhaps its spare, the waiting one
    assert _host(node, state) == before
