"""One of each message that nodes exchange (A5)."""

from __future__ import annotations

from cluster.identity import Role, State
from cluster.wire import messages as m
from cluster.wire.jobs import (
    Compilation,
    Job,
    Outcome,
    Piece,
    Program,
    Reason,
    Refusal,
    Run,
    Source,
    Stream,
    Verdict,
)

JOB = Job("ab" * 16, 100, Program((Source("Main.java", "class Main {}"),)))
OUTCOME = Outcome(Verdict.OK, runs=(Run(Verdict.OK, value="42 \N{SNOWMAN}".encode(), stdout=b"\xff\x00"),))
KEY = m.AttemptKey("ab" * 16, 7, 2)
FACTS = m.NodeFacts(3, 1_700_000_000, 4, Role.PEER, host="peer-3", udp=9000)

DATAGRAMS: list[m.Datagram] = [
    m.Notification(5, 3, State.LOOKING, 7, 6, True, True, -1, 0, 0.1, "ff00"),
    m.Propose(8, 2**63, "ff00"),
    m.Promise(8, 2**63, "ff00"),
    m.Refuse(8, 1, 9, 2, 9),
    m.Heartbeat(8, 1, 0.4),
    m.HeartbeatAck(8, 1),
    m.Resign(8),
    m.Probe(1, "ff00"),
    m.ProbeReply(1, 0, 0, "ff00"),
    m.Gossip((m.GossipEntry(1, 2, 3, 4, True), m.GossipEntry(2, 2, 3, 4)), ask=True),
    m.FactsWanted(((1, 2, 3),)),
    m.FactsDelta((FACTS,)),
]
FRAMES: list[m.Frame] = [
    m.Hello(1, "c", 3, 9, Role.WORKER, 8, "ff00", "aa", 2, "17", (KEY,), (KEY,)),
    m.Welcome(8),
    m.Fenced(9),
    m.Submit(JOB, True, 1, 10.0, 60.0, placed=m.Place(3, 7)),
    m.Withdraw(("a", "b")),
    m.Assign(8, 1, JOB, 60.0),
    m.CancelRun(8, ("a",)),
    m.Finished(KEY, OUTCOME),
    m.Progress(KEY, Compilation(main_class="A"), (Piece(0, Stream.STDERR, 5, b"\xff"),)),
    m.Progressed(8, 3, KEY),
    m.Recount(8, ("a",)),
    m.Release(("a",)),
    m.Returned(KEY),
    m.Slots(2, True),
    m.Result(8, "a", OUTCOME),
    m.ResultAck(("a",)),
    m.Refused(8, "a", Refusal(Reason.OVERLOADED, "the queue is full")),
    m.LossCounted(8, "a", 1, 3),
    m.Placed(8, (("a", m.Place(3, 7)),)),
    m.Ping(1),
    m.Pong(1),
    m.FactsRequest(((1, 2, 3),)),
    m.FactsReply((FACTS,)),
]
