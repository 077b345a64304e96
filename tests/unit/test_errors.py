"""Blame is typed (architecture A1.6)."""

from __future__ import annotations

import pytest

from cluster import errors


def test_a_protocol_error_blames_one_side() -> None:
    with pytest.raises(TypeError, match="LocalProtocolError or RemoteProtocolError"):
        errors.ProtocolError("who was it?")
    assert isinstance(errors.LocalProtocolError("we"), errors.ProtocolError)
    assert isinstance(errors.RemoteProtocolError("they"), errors.ProtocolError)


def test_a_remote_error_keeps_its_reason_apart_from_its_detail() -> None:
    error = errors.RemoteProtocolError("truncated", "12 of 40 bytes")
    assert (error.reason, str(error)) == ("truncated", "truncated: 12 of 40 bytes")
    assert str(errors.RemoteProtocolError("truncated")) == "truncated"


def test_a_configuration_error_has_a_line_for_each_problem() -> None:
    error = errors.ConfigError("$.a: wrong", "$.b: wrong too")
    assert error.problems == ("$.a: wrong", "$.b: wrong too")
    assert str(error).splitlines() == list(error.problems)


def test_a_storage_error_is_the_machines_fault() -> None:
    assert issubclass(errors.StorageError, errors.EnvironmentFault)


@pytest.mark.parametrize(
    "kind",
    [
        errors.ConfigError,
        errors.EnvironmentFault,
        errors.LocalProtocolError,
        errors.RemoteProtocolError,
        errors.JobError,
        errors.Unavailable,
    ],
)
def test_every_branch_can_be_caught_as_one_of_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.ClusterError)
