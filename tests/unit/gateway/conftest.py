"""Fixtures of the gateway's tests."""

from __future__ import annotations

import pytest

from tests.unit.gateway.fakes import Gateway


@pytest.fixture
def gateway() -> Gateway:
    """A gateway on fakes."""
    return Gateway()
