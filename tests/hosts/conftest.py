"""One fleet for all tests of the hosts level; a failure shows the end of every node's journal."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.hosts.fleet import Fleet

JOURNAL_LINES = 40

_fleet = Fleet()


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The hosts of HOSTS_INVENTORY."""
    return _fleet


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `machine` runs for each host, one that takes `peer` for each peer."""
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", _fleet.all)
    if "peer" in metafunc.fixturenames:
        metafunc.parametrize("peer", _fleet.peers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add each node's journal to a failed test's report."""
    report = yield
    if report.failed and call.when == "call" and "fleet" in getattr(item, "fixturenames", ()):
        for host in _fleet.all:
            done = _fleet.on(host).run(
                f"journalctl --no-pager -o short-precise -u javacluster -n {JOURNAL_LINES}"
            )
            report.sections.append((f"journal of {host}", done.stdout + done.stderr))
    return report
