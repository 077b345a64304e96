"""Connections held open by the hundred keep nobody out, and nothing of them stays (H8, X2, issue 7)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.hostile_clients import HONEST, figures, raise_files
from tests.integration.live import Live, live_cluster

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Its gateway takes fewer connections than will come, as any gateway does in the end."""
    directory = tmp_path_factory.mktemp("hostile") / "c"
    with live_cluster(directory, peers=3, gateway__connections_max=100) as live:
        yield live


def test_honest_programs_are_answered_whoever_else_is_there(cluster: Live) -> None:
    before = cluster.info()
    for figure in figures(cluster, raise_files(400)):
        assert len(figure.seconds) == HONEST, figure.line()
        assert figure.left <= 5, figure.line()
        assert figure.files < 400, figure.line()
    after = cluster.info()
    assert (after["leader"], after["epoch"]) == (before["leader"], before["epoch"]), "no election"
