"""An outsider's flood costs no answer, and the kernel refuses it (issue 7; X1, X3).

What it costs otherwise is measured by `python -m tests.integration.flooding`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.flooding import dropped, flooded
from tests.integration.live import live_cluster

pytestmark = pytest.mark.integration


def test_a_flood_of_forged_datagrams_costs_no_answer(tmp_path: Path) -> None:
    with live_cluster(tmp_path / "c") as cluster:
        seen, sent = flooded(cluster, per_second=20_000, seconds=5)
        assert seen.failures == ()
        assert seen.answers > 0
        assert sent > 0
        refused = [dropped(cluster, node) for node in range(4)]
        assert all(each["authenticity"] > 0 and each["kernel"] > 0 for each in refused), refused
