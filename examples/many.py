"""Many programs at once on Twisted: handed in together, answered as they end.

python examples/many.py http://127.0.0.1:8888
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import react

from cluster.client import ProgramResult
from cluster.client.on_twisted import TwistedClient

SQUARE = """
public class Square {
    public static void main(String[] args) {
        System.out.println(Math.multiplyExact(Long.parseLong(args[0]), Long.parseLong(args[0])));
    }
}
"""


@inlineCallbacks
def main(
    reactor: Any,  # noqa: ANN401  (whichever Twisted takes)
    gateway: str = "http://127.0.0.1:8888",
) -> Generator[Deferred[Any], Any, None]:
    """Run ten, and print their answers in order."""
    client = TwistedClient(reactor, gateway)
    running = [client.run(SQUARE, args=[str(number)]) for number in range(10)]
    results: list[ProgramResult] = yield gatherResults(running)
    for result in results:
        print(result.runs[0].stdout.strip())
    yield client.close()


if __name__ == "__main__":
    react(main, sys.argv[1:])
