"""Coverage: the rare situations that a sweep must have been in, or it is blind there."""

from __future__ import annotations

LOGGED = {
    "renewing": "leader renewed itself above an accepted epoch",
    "gains the vote: every voter is new": "new cluster gained its votes",
    "gains the vote: a leader was heard": "voter with a lost disk regained its vote",
    "lease lost": "leader resigned for a lost lease",
    "promised another": "renewal ended by a promise to another",
    "the durable record can't be written": "storage error seen by the core",
    "it resigned": "follower left a leader that resigned",
    "its channel broke": "channel to the leader was a hint",
    "gossip declared it failed": "gossip's verdict on the leader was a hint",
    "no heartbeat": "leader fell silent",
    "is established": "stale leader learnt of a higher epoch on a channel",
    "leads epoch": "leader gave way to a higher heartbeat",
    "proposes epoch": "leader without lease gave way to a proposal",
    "not assigned again": "new leader attached to a run or a kept result",
    "lost worker": "worker's loss counted against a job",
    "handed back": "job handed back",
    "nobody waits for it": "job abandoned by its client",
    "SERVER FAILED": "gossip declared a node failed",
    "was accepted elsewhere": "leader without lease gave way to an accepted epoch",
}
"""Words of a core's log lines, and the rare situation that each proves to have been reached."""

NEVER_REACHED = {
    "gossip's verdict on the leader was a hint": "F is 0.6 s, and gossip needs 2.5 s",
    "stale leader learnt of a higher epoch on a channel": "a heartbeat or a lost lease is sooner",
    "renewal ended by a promise to another": "whoever renews resigns before it promises",
}
"""What 100,000 seeds were never in, and why: tests of the cores alone show what happens then (L5, L7)."""

MUST_REACH = (
    "a gateway's window was full",
    "answered from the cache",
    "candidate died in its handshake",
    "channel left half open",
    "channel to the leader was a hint",
    "crash after the last write step",
    "client gave up for want of a leader",
    "client's deadline passed",
    "crash at write step 0",
    "crash at write step 1",
    "crash at write step 2",
    "crash at write step 3",
    "crash at write step 4",
    "crash at write step 5",
    "crash in the write of a start",
    "datagram of an older boot dropped",
    "dialling failed",
    "epoch rests on a regained vote",
    "follower left a leader that resigned",
    "gossip declared a node failed",
    "half open channel found out",
    "job abandoned by its client",
    "job assigned again",
    "job handed back",
    "job sent again to a new leader",
    "late loop reported",
    "leader fell silent",
    "leader fenced a stale HELLO",
    "leader gave way to a higher heartbeat",
    "leader renewed itself above an accepted epoch",
    "leader resigned for a lost lease",
    "leader without lease gave way to a proposal",
    "leader without lease gave way to an accepted epoch",
    "link queue overflowed",
    "lost lease came back",
    "new cluster gained its votes",
    "new leader attached to a run or a kept result",
    "node drained and stopped",
    "overlap under unbounded drift",
    "power cut before the content was synchronised",
    "power cut before the name was synchronised",
    "promise repeated",
    "repeated datagram dropped",
    "request refused",
    "resignation sent",
    "result of an earlier epoch offered",
    "run cancelled by the leader",
    "run stopped at its deadline",
    "several records written as one",
    "socket buffer overflowed",
    "stalled channel went on",
    "start put off by a bad disk",
    "storage error seen by the core",
    "stuck channel broke",
    "the leader itself was not healed",
    "two in office, one without its lease",
    "voter not eligible",
    "voter with a lost disk regained its vote",
    "worker_lost answered",
    "worker's loss counted against a job",
    "write failed",
)
"""Rare situations that a sweep of `ENOUGH` seeds must have been in, or it is blind there."""

RARE = ("worker fenced a stale leader",)
"""Those that are there a few times in 2,000 seeds, so that it takes `MANY` to be sure of them.

The channel that an order came on too late must still be open when the worker's fence is on disk (L6, N4).
"""
