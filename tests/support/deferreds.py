"""Look into a Deferred synchronously; for tests without a running reactor."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def _outcome_of(deferred: Deferred[T]) -> list[T | Failure]:
    outcome: list[T | Failure] = []

    def keep(result: T | Failure) -> None:
        outcome.append(result)

    deferred.addBoth(keep)
    return outcome


def success_result_of(deferred: Deferred[T]) -> T:
    """The result that the Deferred has now; fails the test if it has none, or failed."""
    outcome = _outcome_of(deferred)
    assert outcome, "the Deferred has no result yet"
    result = outcome[0]
    assert not isinstance(result, Failure), f"the Deferred failed:\n{result.getTraceback()}"
    return result


def failure_result_of(deferred: Deferred[T], *expected: type[BaseException]) -> Failure:
    """The failure that the Deferred has now; one of the expected types, if any are named."""
    outcome = _outcome_of(deferred)
    assert outcome, "the Deferred has no result yet"
    result = outcome[0]
    assert isinstance(result, Failure), f"the Deferred succeeded with {result!r}"
    assert not expected or result.check(*expected), f"the Deferred failed otherwise:\n{result.getTraceback()}"
    return result


def assert_no_result(deferred: Deferred[T]) -> None:
    """Fails the test if the Deferred has a result already; leaves that result in place."""
    outcome: list[T | Failure] = []

    def look(result: T | Failure) -> T | Failure:
        outcome.append(result)
        return result

    deferred.addBoth(look)
    if outcome and isinstance(outcome[0], Failure):
        deferred.addErrback(lambda _failure: None)
    assert not outcome, f"the Deferred has the result {outcome[0]!r} already"
